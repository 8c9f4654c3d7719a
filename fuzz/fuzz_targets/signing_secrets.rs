#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| incoming::fuzzing::run("signing_secrets", data));
