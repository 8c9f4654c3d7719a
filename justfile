# What people and CI run. `just` lists it.

_list:
    @just --list --unsorted

# Everything that a change must pass (installs what is missing).
check:
    tests/run quick

# Writes the format.
fmt:
    cargo fmt

fmt-check:
    cargo fmt --check

clippy:
    cargo clippy --all-targets --locked -- -D warnings
    cargo clippy --all-targets --locked --features full -- -D warnings

doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --locked

# Licences, bans, advisories; skipped where cargo-deny is not installed.
deny:
    @if command -v cargo-deny >/dev/null; then cargo deny check; else echo "cargo-deny is not installed: skipped"; fi

# Rust tests. The whole suite with browsers: tests/run.
test:
    cargo test --locked --features full

# What it measures and how to compare two commits: benches/README.md.
bench *args:
    cargo bench --locked {{args}}

# Every parser against libFuzzer: docs/security-tests.md.
fuzz *args:
    fuzz/run {{args}}

# The long campaigns against lost bytes: docs/reliability.md.
campaign *args:
    tests/campaign {{args}}

# The browser library: types, units, and dist/ built anew.
js:
    cd incoming-js && npm ci && npm run types && npm test && npm run build

# Server, tiny web app and page.
demo *args:
    cargo run --release --locked -- demo {{args}}
