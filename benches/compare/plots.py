"""Cost against uploads, chunks and files, for benches/compare/run: a table for docs/performance.md and pictures in docs/pictures."""
import html
import math
import statistics
import sys

KIB, MIB = 1 << 10, 1 << 20
UPLOADS = [1, 8, 64, 256]
CHUNKS = [256 * KIB, 512 * KIB, MIB, 4 * MIB, 8 * MIB, 32 * MIB]
FILES = [64 * KIB, 512 * KIB, 4 * MIB, 32 * MIB, 256 * MIB, 1024 * MIB]
# Each has its colour and its shape in all pictures.
SERVERS = ["floor", "Incoming!!", "nginx", "@tus/server"]
# Bytes of a measurement, at least; @tus/server gets a part of them.
TOTAL, TOTAL_TUS, TOTAL_FILES = 1024 * MIB, 256 * MIB, 256 * MIB
STYLE = """
    .paper { fill: #ffffff; stroke: #d0d7de } .grid { stroke: #d0d7de; stroke-width: 0.7 } .axis { stroke: #57606a; fill: none }
    text { fill: #1f2328; font: 13px system-ui, sans-serif } .small { fill: #57606a; font-size: 12px } .name { font-weight: 600; font-size: 15px }
    .s0 { --c: #6e7781 } .s1 { --c: #1d4ed8 } .s2 { --c: #b45309 } .s3 { --c: #15803d }
    .line { stroke: var(--c); stroke-width: 2; fill: none } .mark { fill: var(--c) } .range { stroke: var(--c); stroke-width: 1.2 }
    @media (prefers-color-scheme: dark) {
      .paper { fill: #0d1117; stroke: #30363d } .grid { stroke: #30363d } .axis { stroke: #8b949e }
      text { fill: #e6edf3 } .small { fill: #9da7b3 }
      .s0 { --c: #9da7b3 } .s1 { --c: #58a6ff } .s2 { --c: #f0883e } .s3 { --c: #56d364 }
    }"""
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 760, 420, 70, 150, 50, 60


def size(number):
    for unit, name in ((1024 * MIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if number >= unit:
            return f"{number // unit} {name}"


def mark(number, x, y):
    """A shape of its own for each line, for those who do not tell colours apart."""
    return [
        f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/>', f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
        f'<path class="mark" d="M{x:.1f} {y - 5:.1f} l5 9 h-10 z"/>', f'<path class="mark" d="M{x:.1f} {y - 5.5:.1f} l5.5 5.5 l-5.5 5.5 l-5.5 -5.5 z"/>',
    ][number]


def svg(title, description, x_name, y_name, ticks, lines):
    """A picture with two logarithmic axes. `ticks`: x and its text; `lines`: name and points, which are x and the values measured there."""
    values = [value for _, points in lines for _, values in points for value in values]
    low, high = min(values) / 1.15, max(values) * 1.15
    first, last = math.log(ticks[0][0]), math.log(ticks[-1][0])
    x_of = lambda x: LEFT + 14 + (math.log(x) - first) / (last - first) * (WIDTH - LEFT - RIGHT - 28)
    y_of = lambda y: HEIGHT - BOTTOM - math.log(y / low) / math.log(high / low) * (HEIGHT - TOP - BOTTOM)
    steps = [step * 10.0**power for power in range(-5, 6) for step in (1, 2, 5)]
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title desc">',
           f'<title id="title">{html.escape(title)}</title>', f'<desc id="desc">{html.escape(description)}</desc>', f"<style>{STYLE}\n</style>",
           f'<rect class="paper" x="0.5" y="0.5" width="{WIDTH - 1}" height="{HEIGHT - 1}" rx="8"/>',
           f'<text class="name" x="{LEFT}" y="30">{html.escape(title)}</text>']
    for step in steps:
        if low <= step <= high:
            y = y_of(step)
            out.append(f'<path class="grid" d="M{LEFT} {y:.1f} H{WIDTH - RIGHT}"/><text class="small" text-anchor="end" x="{LEFT - 7}" y="{y + 4:.1f}">{step:g}</text>')
    for x, text in ticks:
        out.append(f'<path class="grid" d="M{x_of(x):.1f} {TOP} V{HEIGHT - BOTTOM}"/>'
                   f'<text class="small" text-anchor="middle" x="{x_of(x):.1f}" y="{HEIGHT - BOTTOM + 18}">{text}</text>')
    out += [f'<path class="axis" d="M{LEFT} {TOP} V{HEIGHT - BOTTOM} H{WIDTH - RIGHT}"/>',
            f'<text text-anchor="middle" x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 16}">{html.escape(x_name)}</text>',
            f'<text class="small" x="{WIDTH - RIGHT + 14}" y="{HEIGHT - BOTTOM - 16}">median of rounds,</text>',
            f'<text class="small" x="{WIDTH - RIGHT + 14}" y="{HEIGHT - BOTTOM}">bars: least to most</text>',
            f'<text text-anchor="middle" transform="translate(20 {(TOP + HEIGHT - BOTTOM) / 2}) rotate(-90)">{html.escape(y_name)}</text>']
    for row, (name, points) in enumerate(sorted(lines, key=lambda line: -statistics.median(line[1][-1][1]))):
        number = SERVERS.index(name)
        at = [(x_of(x), y_of(statistics.median(values)), y_of(min(values)), y_of(max(values))) for x, values in points]
        path = " L".join(f"{x:.1f} {y:.1f}" for x, y, *_ in at)
        ranges = "".join(f'<path class="range" d="M{x:.1f} {bottom:.1f} V{top:.1f}"/>' for x, _, bottom, top in at)
        legend = TOP + 14 + 24 * row
        out.append(f'<g class="s{number}"><path class="line" d="M{path}"/>{ranges}{"".join(mark(number, x, y) for x, y, *_ in at)}'
                   f'<path class="line" d="M{WIDTH - RIGHT + 14} {legend} h26"/>{mark(number, WIDTH - RIGHT + 27, legend)}'
                   f'<text x="{WIDTH - RIGHT + 48}" y="{legend + 4}">{html.escape(name)}</text></g>')
    return "\n".join([*out, "</svg>"]) + "\n"


def measure(run, place, rounds, only, scale):
    """Lines of the page, and the pictures by name. With `scale` less than 1, fewer bytes: to try it."""
    servers = dict(zip(SERVERS, (run.floor, run.incoming, run.nginx, run.tus)))

    def bytes_of(server, uploads, chunk):
        # Half of it is measured at least: the last chunk of a file is not.
        return max(int((TOTAL_TUS if server == "@tus/server" else TOTAL) * scale), 2 * uploads * chunk)

    def chunks(uploads, chunk):
        def one(server):
            result = servers[server](place, f"--uploads {uploads} --chunk {chunk} --total {bytes_of(server, uploads, chunk)}", False)
            return run.cost(result)
        return one

    def files(size):
        count = max(2, min(1000, int(TOTAL_FILES * scale) // size))

        def one(server):
            at_once = min(8, count)
            if server == "Incoming!!":
                life = place.own(f"--ack written --files {count} --size {size} --uploads {at_once}")
                return life["server_cpu_ms"] / 1e3 * 1024 * MIB / size
            # A request for a file; one more for each upload is not measured.
            return run.cost(run.nginx(place, f"--uploads {at_once} --chunk {size} --total {size * (count // at_once + 1) * at_once}", False))
        return one

    plots = [
        ("cost-uploads", "CPU of the server by uploads at a time, chunks of 4 MiB", "uploads at a time",
         SERVERS, [(uploads, str(uploads), chunks(uploads, 4 * MIB)) for uploads in UPLOADS]),
        ("cost-chunks", "CPU of the server by size of the chunks, 8 uploads", "bytes of a chunk",
         SERVERS, [(chunk, size(chunk), chunks(8, chunk)) for chunk in CHUNKS]),
        ("cost-files", "CPU of the server by size of the files, 8 at a time, each in one request", "bytes of a file",
         ["Incoming!!", "nginx"], [(length, size(length), files(length)) for length in FILES]),
    ]
    out, pictures = [], {}
    for name, title, x_name, who, points in plots:
        if only and only not in name:
            continue
        measured = {server: {x: [] for x, *_ in points} for server in who}
        for turn in range(rounds + 1):
            for x, text, one in points:
                for server in who:
                    value = one(server)
                    # The first round warms up. Clocks of processes have steps of 10 ms.
                    if turn > 0:
                        measured[server][x].append(max(value, 0.001))
            print(f"{name}: round {turn} of {rounds}", file=sys.stderr)
        told = "; ".join(f"{server} " + ", ".join(f"{statistics.median(measured[server][x]):.2f} at {text}" for x, text, _ in points) for server in who)
        pictures[name] = svg(title, f"CPU seconds of the server for each GiB, by {x_name}: {told}.", x_name, "CPU seconds for each GiB",
                             [(x, text) for x, text, _ in points], [(server, list(measured[server].items())) for server in who])
        out += ["", f"![{title}: {told}](pictures/{name}.svg)", "", f"| CPU s/GiB, by {x_name} | {' | '.join(text for _, text, _ in points)} |",
                "|---|" + "---|" * len(points)]
        out += [f"| {server} | {' | '.join(run.spread(measured[server][x]) for x, *_ in points)} |" for server in who]
        if name == "cost-files":
            cells = [f"{statistics.median(measured['Incoming!!'][x]) * x / MIB / 1024 * 1e3:.2f}" for x, *_ in points]
            out.append(f"| Incoming!!, CPU ms for each file | {' | '.join(cells)} |")
    return out, pictures
