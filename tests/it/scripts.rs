//! Protects the browser library on its way to a page: both forms, fresh, small, cacheable.

use crate::client::Ask;
use crate::server::Running;
use flate2::read::GzDecoder;
use std::io::Read;

#[tokio::test]
async fn scripts_are_served_from_inside_the_program() {
    let server = Running::start().await;
    let files = [
        ("incoming.js", include_str!("../../incoming-js/dist/incoming.js")),
        ("incoming.mjs", include_str!("../../incoming-js/dist/incoming.mjs")),
        ("incoming-ui.js", include_str!("../../incoming-js/dist/incoming-ui.js")),
        ("locales/de.js", include_str!("../../incoming-js/dist/locales/de.js")),
        ("locales/es.js", include_str!("../../incoming-js/dist/locales/es.js")),
        ("locales/fr.js", include_str!("../../incoming-js/dist/locales/fr.js")),
        ("locales/ja.js", include_str!("../../incoming-js/dist/locales/ja.js")),
        ("locales/nb.js", include_str!("../../incoming-js/dist/locales/nb.js")),
    ];
    for (name, expected) in files {
        for prefix in ["/incoming/", "/incoming/0.1/"] {
            let get = Ask::new("GET", &format!("{prefix}frontend/{name}"));
            let plain = server.front(&get).await.expect(200);
            assert_eq!(plain.text(), expected);
            assert!(plain.header("content-type").unwrap().starts_with("text/javascript"));
            let tag = plain.header("etag").unwrap();
            let fresh = server.front(&get.clone().header("If-None-Match", tag)).await.expect(304);
            assert_eq!(fresh.header("etag"), Some(tag));
            server.front(&get.clone().header("If-None-Match", "\"other\"")).await.expect(200);

            let small =
                server.front(&get.clone().header("Accept-Encoding", "br, gzip")).await.expect(200);
            assert_eq!(small.header("content-encoding"), Some("gzip"));
            assert!(small.joined("vary").to_lowercase().contains("accept-encoding"));
            assert_ne!(small.header("etag"), Some(tag));
            let mut text = String::new();
            GzDecoder::new(&*small.body).read_to_string(&mut text).unwrap();
            assert_eq!(text, expected);
            let none = server.front(&get.header("Accept-Encoding", "gzip;q=0")).await.expect(200);
            assert_eq!(none.header("content-encoding"), None);

            let head = server
                .front(&Ask::new("HEAD", &format!("{prefix}frontend/{name}")))
                .await
                .expect(200);
            assert_eq!(head.header("content-length"), Some(&*expected.len().to_string()));
            let reply = server.front(&Ask::new("POST", &format!("{prefix}frontend/{name}"))).await;
            reply.problem(405, "method-not-allowed", 5);
        }
    }
}
