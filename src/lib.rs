//! Incoming!! takes large file uploads off a web app's back.
