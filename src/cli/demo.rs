//! `incoming demo`: the arguments.

use std::path::PathBuf;

/// Ports, directory and names of the demo.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct DemoArgs {
    /// Port of the page and the uploads over https, with a certificate of its own making
    #[arg(long, value_name = "PORT", default_value_t = 4443)]
    pub https_port: u16,
    /// Port of the same over plain http
    #[arg(long, value_name = "PORT", default_value_t = 4080)]
    pub http_port: u16,
    /// Port of the backend listener, on loopback
    #[arg(long, value_name = "PORT", default_value_t = 4001)]
    pub backend_port: u16,
    /// Directory of certificate and uploads; made if absent
    #[arg(long, value_name = "PATH", default_value = "./incoming-demo-data")]
    pub dir: PathBuf,
    /// Another name or address that the certificate is good for; repeatable
    #[arg(long, value_name = "HOST")]
    pub host: Vec<String>,
}

/// Runs the demo.
pub fn demo(_args: DemoArgs) -> Result<(), super::CliError> {
    Ok(())
}
