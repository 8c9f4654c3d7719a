#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| incoming::fuzzing::run("callback_url", data));
