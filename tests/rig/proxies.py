"""Reverse proxies before a server, with certificates.

    with Rig() as rig:
        server = rig.incoming()
        proxy = rig.proxy("nginx", "docs/operations/proxies/nginx.conf", {
            "unix:/run/incoming/public.sock": server.listen,
            "listen 443 ": Port("https", "listen 127.0.0.1:{} "),
            "/etc/ssl/app/fullchain.pem": rig.certificate,
            "/etc/ssl/app/privkey.pem": rig.key,
        }, ready="https://localhost:{https}/incoming/frontend/incoming.js")
        path = url_of(server.ticket(rig.backend().url))
        curl("-T", "film.mp4", f"https://localhost:{proxy.ports['https']}{path}", "--cacert", rig.ca)

`proxy` takes a file or the text of a configuration and puts values in their places; every place must occur in it. A
configuration is what an administrator writes: `WRAPPERS` has what Debian's own files put around it. Each program
runs in a process group of its own, is waited for, and is ended with the rig; what it logged is shown when the test
fails. Standard library only; curl, and the proxies under test, must be installed.
"""
import collections
import contextlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from . import ROOT, Backend, Server, build, free_port, until

# Seconds that a program may take to end when it is asked to.
ENDS_IN = 10

# The name of each program and what is given to it: {dir} is a directory of its own, {conf} the finished file.
COMMANDS = {
    "nginx": ["nginx", "-p", "{dir}", "-c", "{conf}", "-e", "stderr"],
    "haproxy": ["haproxy", "-db", "-f", "{conf}"],
    "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", "{conf}"],
    "apache2": ["apache2", "-d", "{dir}", "-f", "{conf}", "-DFOREGROUND"],
}
APACHE_MODULES = ("mpm_event authz_core unixd:- socache_shmcb ssl http2 proxy proxy_http proxy_http2 headers "
                  "rewrite setenvif reqtimeout log_config:- version:-")
# What stands around a configuration: as little as each program starts with, so that what is tested is the
# configuration. {config} is the text itself, {user} the user that workers run as (as root they stay it).
WRAPPERS = {
    "nginx": """{user}
pid {dir}/nginx.pid;
daemon off;
worker_processes 1;
error_log stderr info;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
{config}
}}
""",
    "haproxy": "{config}",
    "caddy": """{{
    admin off
    default_bind 127.0.0.1
    auto_https off
    storage file_system {dir}/storage
}}
{config}
""",
    "apache2": """ServerName localhost
PidFile {dir}/apache2.pid
DefaultRuntimeDir {dir}
Mutex file:{dir}
{modules}
{user}
ErrorLog /dev/stderr
LogLevel info
ServerLimit 2
StartServers 1
MinSpareThreads 5
MaxSpareThreads 75
ThreadsPerChild 64
MaxRequestWorkers 128
{config}
""",
}


# A place that gets a free port of loopback: `form` is the text that stands there then.
Port = collections.namedtuple("Port", "name form", defaults=["127.0.0.1:{}"])


class Failed(Exception):
    """What did not happen, for people."""


def installed(kind):
    """Whether this proxy can be started here."""
    return shutil.which(COMMANDS[kind][0]) is not None


def curl(*arguments, check=True, seconds=60, stdin=None, both=False):
    """Runs curl, which follows no proxy of the environment; answers what it printed, `both`: and what it told."""
    command = ["curl", "-sS", "--noproxy", "*", "--max-time", str(seconds), *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, input=stdin, timeout=seconds + 30, check=False)
    told = ran.stderr.decode(errors="replace")
    if check and ran.returncode != 0:
        raise Failed(f"{' '.join(command)}: exit {ran.returncode}: {told.strip()}")
    return (ran.stdout, told) if both else ran.stdout


class Program:
    """A program that was started, with its log."""

    def __init__(self, name, command, directory, env=None):
        self.name, self.log_file = name, directory / f"{name}.log"
        with open(self.log_file, "ab") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory,
                                            env=env, start_new_session=True)

    @property
    def pid(self):
        return self.process.pid

    def runs(self):
        return self.process.poll() is None

    def log_text(self):
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def stop(self, how=signal.SIGTERM):
        """Ends it and whatever it started; again is harmless."""
        if self.runs():
            self.process.send_signal(how)
        try:
            self.process.wait(ENDS_IN)
        except subprocess.TimeoutExpired:
            pass
        # Its group is its own: workers that outlived it are ended too, and nothing else is.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait(ENDS_IN)


class Rig:
    """A directory, certificates and everything that runs in it; all of it goes away at the end."""

    def __enter__(self):
        # Its servers are of this program.
        os.environ["INCOMING"] = build()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="incoming-rig-"))
        # Apache's workers are another user where the test runs as root.
        self.dir.chmod(0o755)
        self.stack, self.logs = contextlib.ExitStack(), []
        # A test that is asked to end still ends what it started.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        make = [ROOT / "certs-example/make-certs", "--out", self.dir / "certs", "localhost", "127.0.0.1"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, timeout=60)
        self.ca, self.certificate, self.key = (
            str(self.dir / "certs" / name) for name in ("ca.pem", "server.pem", "server-key.pem"))
        # For programs that want both in one file.
        self.pair = str(self.dir / "certs/pair.pem")
        pathlib.Path(self.pair).write_text(pathlib.Path(self.certificate).read_text() + pathlib.Path(self.key).read_text())
        return self

    def __exit__(self, kind, error, _):
        logs = [(name, log()) for name, log in self.logs]
        self.stack.close()
        if kind is not None and kind is not SystemExit:
            for name, log in logs:
                print(f"--- the end of what {name} logged ---\n{log[-4000:]}", file=sys.stderr)
        shutil.rmtree(self.dir, ignore_errors=True)

    def place(self, name):
        """A new directory for one program, which may run as another user."""
        place = pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.dir))
        place.chmod(0o755)
        return place

    def backend(self):
        backend = Backend()
        self.stack.callback(backend.close)
        return backend

    def incoming(self, **settings):
        """The server with these settings by their keys. Unless they say otherwise it listens on a free port, and for its backend
        on a unix socket (`shared`: where clients are served)."""
        place, log = self.place("incoming"), settings.pop("log", "info")
        listen, backend = settings.pop("listen", None), settings.pop("backend_listen", f"unix:{place}/backend.sock")
        flags = [word for key, value in settings.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        server = Server(place / "data", "--log-format", "json", *flags, log=log)
        server.listen = listen or server.listen
        server.backend_listen = server.listen if backend == "shared" else backend
        self.stack.callback(server.kill)
        self.logs.append(("incoming", server.log_text))
        return server.start()

    def proxy(self, kind, config, places, ready, attempts=3):
        """Starts a proxy and waits until `ready` (a URL with ports by name) answers anything over HTTP.

        `config` is a file under the project's root, or the text itself. `places` maps what stands in it to what is to
        stand there: text, or a `Port`.
        """
        text = config if "\n" in str(config) else (ROOT / config).read_text()
        for last in range(attempts):
            try:
                return self.proxy_once(kind, text, places, ready)
            except Failed as error:
                # A port may be taken between its choice and its use.
                if last + 1 == attempts or not re.search(r"in use|cannot bind|98:", str(error)):
                    raise
        raise AssertionError("unreachable")

    def proxy_once(self, kind, text, places, ready):
        place, ports = self.place(kind), {}
        for old, new in places.items():
            if old not in text:
                raise Failed(f"{kind}: {old!r} does not occur in the configuration")
            if isinstance(new, Port):
                ports[new.name] = free_port()
                new = new.form.format(ports[new.name])
            text = text.replace(old, str(new))
        conf = place / "conf"
        conf.write_text(wrapped(kind, text, place))
        command = [part.format(dir=place, conf=conf) for part in COMMANDS[kind]]
        env = {**os.environ, "XDG_DATA_HOME": str(place), "XDG_CONFIG_HOME": str(place), "HOME": str(place)}
        program = Program(kind, command, place, env)
        program.ports = ports
        try:
            until(f"{kind} answers", lambda: self.answers(program, ready.format(**ports)))
        except BaseException as error:
            program.stop()
            raise Failed(f"{error}\n{program.log_text()}") from error
        self.stack.callback(program.stop)
        self.logs.append((kind, program.log_text))
        return program

    def answers(self, program, url):
        if not program.runs():
            raise Failed(f"{program.name} ended by itself")
        said = curl("--cacert", self.ca, "-o", "/dev/null", "-w", "%{http_code}", url, check=False, seconds=5)
        return said not in (b"", b"000")


def wrapped(kind, config, place):
    """The whole file that the program reads."""
    root = os.geteuid() == 0
    user = {"nginx": "user root;", "apache2": "User www-data\nGroup www-data"}.get(kind, "") if root else ""
    modules = []
    for entry in APACHE_MODULES.split() if kind == "apache2" else []:
        # Some are built in on Debian; those marked so are loaded only where they are files.
        file = pathlib.Path(f"/usr/lib/apache2/modules/mod_{entry.split(':')[0]}.so")
        if file.exists() or ":" not in entry:
            modules.append(f"LoadModule {entry.split(':')[0]}_module {file}")
    return WRAPPERS[kind].format(config=config, dir=place, user=user, modules="\n".join(modules))
