"""Requests and frames that nobody honest sends. Each has its answer, and a neighbour on the same server
uploads meanwhile as if nothing were.
"""

import contextlib
import tempfile

import ground
import hostile_created
import hostile_http1
import hostile_http2
import hostile_memory
import rig


def run(report, options):
    with contextlib.ExitStack() as stack:
        web = rig.Backend()
        stack.callback(web.close)
        with standing(report, options, web, rig.Server) as field:
            hostile_http1.run(report, field, options)
        with standing(report, options, web, lambda data: rig.Server(data, *hostile_created.flags(web))) as field:
            hostile_created.run(report, field, options)
        try:
            certificates = ground.certificates(stack.enter_context(tempfile.TemporaryDirectory()))
        except rig.Skipped as why:
            return report.skip("HTTP/2", why)
        with standing(report, options, web, lambda data: ground.TlsServer(data, certificates)) as field:
            hostile_http2.run(report, field, options)
        for size in hostile_memory.FRAMES[:4] if options.short else hostile_memory.FRAMES:
            with alone(certificates) as server:
                hostile_memory.frames(report, server, size, 5 if options.short else 20)
        with alone(certificates, *hostile_memory.FLAGS) as server:
            try:
                hostile_memory.run(report, server, web, options)
            except rig.Skipped as why:
                report.skip("bodies that nobody takes", why)
    return None


@contextlib.contextmanager
def alone(certificates, *flags):
    """A server without a neighbour."""
    with ground.scratch() as data:
        server = ground.TlsServer(data, certificates, *flags).start()
        try:
            yield server
        finally:
            server.kill()


@contextlib.contextmanager
def standing(report, options, web, make):
    """A server with its neighbour; at the end both are judged and gone."""
    with ground.scratch() as data:
        server = make(data).start()
        field = None
        try:
            field = ground.Ground(report, server, web, options.seed, getattr(server, "trust", "-"))
            yield field
            field.finish()
        finally:
            if field:
                field.close()
            server.kill()
