//! The page, from inside the binary.

/// One file of the page.
pub(super) struct Asset {
    pub(super) content_type: &'static str,
    pub(super) content: &'static [u8],
}

/// The file at this path.
pub(super) fn at(path: &str) -> Option<Asset> {
    let (content_type, content): (_, &[u8]) = match path {
        "/" => ("text/html; charset=utf-8", include_bytes!("page/index.html")),
        "/app.js" => ("text/javascript; charset=utf-8", include_bytes!("page/app.js")),
        "/doctor.js" => ("text/javascript; charset=utf-8", include_bytes!("page/doctor.js")),
        "/style.css" => ("text/css; charset=utf-8", include_bytes!("page/style.css")),
        "/favicon.svg" => ("image/svg+xml", include_bytes!("page/favicon.svg")),
        _ => return None,
    };
    Some(Asset { content_type, content })
}
