//! Running a server: as the process of `haversack serve`, or within another program on a free port.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::datadir::Running;
use crate::error::{Error, Result};
use crate::upstream::{Login, Upstream};
use crate::{Config, Server, listener, logging, tls};

/// What `haversack serve` was told. What is `None` or false is as the configuration file says.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The data directory.
    pub dir: PathBuf,
    /// IP address to listen on.
    pub address: Option<String>,
    /// Port to listen on; 0 takes a free one.
    pub port: Option<u16>,
    /// Allow plain http beyond loopback.
    pub insecure_http: bool,
    /// Publish the sample services.
    pub sample: bool,
    /// First administrator of a new directory.
    pub user: Option<String>,
    /// The first administrator's password; made up and told once if absent.
    pub password: Option<String>,
    /// `text` or `json`.
    pub log_format: Option<String>,
    /// Filter of the log.
    pub log_level: Option<String>,
    /// More origins of web pages that may call.
    pub cors_origins: Vec<String>,
    /// More endpoints that the server itself may connect to.
    pub allow_endpoints: Vec<String>,
    /// Certificates by which such endpoints may show who they are.
    pub endpoint_ca: Option<PathBuf>,
    /// URL of the DHIS2 server with which the tracker data here is synchronised.
    pub upstream: Option<String>,
    /// Time from one synchronisation with it to the next.
    pub upstream_interval: Option<Duration>,
    /// User name there.
    pub upstream_user: Option<String>,
    /// File that holds the password there.
    pub upstream_password_file: Option<PathBuf>,
    /// The login there, where it is in no file: never kept.
    pub upstream_login: Option<Login>,
}

/// A server that runs in this process.
#[derive(Debug)]
pub struct Handle {
    /// The server behind the listener.
    pub server: Arc<Server>,
    /// Where it listens.
    pub address: SocketAddr,
    /// User name and password of the first administrator, if the password was made up at this start.
    pub first_login: Option<(String, String)>,
    stop: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

impl Handle {
    /// The https URL of the server on this machine.
    pub fn url(&self) -> String {
        url(self.address, true)
    }
    /// The http URL of the server on this machine.
    pub fn http_url(&self) -> String {
        url(self.address, false)
    }
    /// The certificate that https clients need to trust.
    pub fn certificate(&self) -> PathBuf {
        tls::certificate_path(self.server.dir.root())
    }
    /// Stops it and waits for its end.
    pub fn stop(mut self) {
        self.end();
    }
    /// Waits until it ends by itself or by a signal.
    fn wait(mut self) {
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was logged by the hook.
            let _ = thread.join();
        }
    }
    fn end(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

fn url(address: SocketAddr, is_tls: bool) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        });
    }
    format!("{}://{address}", if is_tls { "https" } else { "http" })
}

/// Runs a server until SIGTERM or SIGINT. `ready` is called once, when it listens.
///
/// # Errors
/// Whatever keeps it from starting; once it listens, it ends without error.
pub fn serve(options: &Options, ready: &mut dyn FnMut(&Handle)) -> Result<()> {
    let config = effective_config(options)?;
    logging::start(&config)?;
    let handle = start_with(options, config, true)?;
    ready(&handle);
    handle.wait();
    Ok(())
}

/// Starts a server within this process; it runs until its handle is stopped or dropped.
pub fn start(options: &Options) -> Result<Handle> {
    let config = effective_config(options)?;
    start_with(options, config, false)
}

fn effective_config(options: &Options) -> Result<Config> {
    let mut config = Config::load(&options.dir)?;
    if let Some(address) = &options.address {
        config.address.clone_from(address);
    }
    if let Some(port) = options.port {
        config.port = port;
    }
    if let Some(format) = &options.log_format {
        config.log_format.clone_from(format);
    }
    if let Some(level) = &options.log_level {
        config.log_level.clone_from(level);
    }
    config.insecure_http |= options.insecure_http;
    config.cors_origins.extend(options.cors_origins.clone());
    config
        .allow_endpoints
        .extend(options.allow_endpoints.clone());
    if let Some(file) = &options.endpoint_ca {
        // Seen from where the command was given.
        let file = std::path::absolute(file).unwrap_or_else(|_no_current_folder| file.clone());
        config.endpoint_ca = file.display().to_string();
    }
    if let Some(url) = &options.upstream {
        config.upstream.clone_from(url);
    }
    if let Some(interval) = options.upstream_interval {
        config.upstream_interval_s = interval.as_secs();
    }
    if let Some(user) = &options.upstream_user {
        config.upstream_user.clone_from(user);
    }
    if let Some(file) = &options.upstream_password_file {
        let file = std::path::absolute(file).unwrap_or_else(|_no_current_folder| file.clone());
        config.upstream_password_file = file.display().to_string();
    }
    if options.sample {
        for origin in [
            "http://localhost:*",
            "http://127.0.0.1:*",
            "https://localhost:*",
            "https://127.0.0.1:*",
        ] {
            config.cors_origins.push(origin.to_owned());
        }
    }
    Ok(config)
}

fn start_with(options: &Options, config: Config, on_signals: bool) -> Result<Handle> {
    let address = listen_address(&config)?;
    let server = Server::open_with(&options.dir, config)?;
    let tls = tls::server_config(server.dir.root())?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("serve")
        .build()
        .map_err(listen_error(address))?;
    let listener = runtime
        .block_on(TcpListener::bind(address))
        .map_err(listen_error(address))?;
    let address = listener.local_addr().map_err(listen_error(address))?;
    if options.sample {
        crate::sample::publish(&server)?;
    }
    // Last of what may fail: a password that is made up here is shown once, by whoever started this.
    let first_login =
        server.ensure_administrator(options.user.as_deref(), options.password.as_deref())?;
    let router = crate::http::router(&server, metrics_handle());
    server.jobs.start()?;
    let upstream = Upstream::of(&server, options.upstream_login.clone())?;
    server.dir.announce(&Running {
        url: url(address, false),
        token: server.operator_token().to_owned(),
        pid: std::process::id(),
    })?;
    if let Some(upstream) = upstream {
        server.start_upstream(upstream)?;
    }
    let stop = CancellationToken::new();
    let (for_thread, stopping) = (Arc::clone(&server), stop.clone());
    let thread = std::thread::Builder::new()
        .name("server".to_owned())
        .spawn(move || {
            let server = for_thread;
            runtime.block_on(async {
                if on_signals {
                    tokio::spawn(stop_on_signal(stopping.clone()));
                }
                tokio::spawn(sweep_until(Arc::clone(&server), stopping.clone()));
                let (of, told) = (Arc::clone(&server), stopping.clone());
                tokio::spawn(async move {
                    // Whoever waits for another server does not keep this one from stopping.
                    told.cancelled().await;
                    of.pulls.stop();
                });
                tracing::info!(%address, "listening");
                listener::run(listener, tls, router, &server.config, stopping).await;
            });
            runtime.shutdown_timeout(Duration::from_millis(500));
            server.stop(Instant::now() + Duration::from_millis(500));
            tracing::info!("stopped");
        })
        .map_err(listen_error(address))?;
    Ok(Handle {
        server,
        address,
        first_login,
        stop,
        thread: Some(thread),
    })
}

fn listen_error(address: SocketAddr) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::Listen {
        address: address.to_string(),
        source,
    }
}

fn listen_address(config: &Config) -> Result<SocketAddr> {
    let ip: IpAddr = config.address.parse().map_err(|_not_an_ip| {
        Error::invalid(
            format!("address {:?}", config.address),
            "it must be an IP address, such as 127.0.0.1 or 0.0.0.0",
        )
    })?;
    Ok(SocketAddr::new(ip, config.port))
}

async fn sweep_until(server: Arc<Server>, stop: CancellationToken) {
    let mut every = tokio::time::interval(Duration::from_mins(10));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = every.tick() => {}
        }
        let server = Arc::clone(&server);
        // A panic in a sweep is logged by the hook; the next sweep tries again.
        let _ = tokio::task::spawn_blocking(move || server.sweep()).await;
    }
}

async fn stop_on_signal(stop: CancellationToken) {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (Ok(mut term), Ok(mut int)) = (
            signal(SignalKind::terminate()),
            signal(SignalKind::interrupt()),
        ) else {
            tracing::error!("signals cannot be watched; the server stops only by force");
            return;
        };
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    }
    #[cfg(not(unix))]
    if tokio::signal::ctrl_c().await.is_err() {
        return;
    }
    tracing::info!("told to stop");
    stop.cancel();
}

/// The process's metrics: servers in one process share them.
fn metrics_handle() -> PrometheusHandle {
    static HANDLE: OnceLock<PrometheusHandle> = OnceLock::new();
    HANDLE
        .get_or_init(|| {
            let recorder = PrometheusBuilder::new().build_recorder();
            let handle = recorder.handle();
            // Another recorder of the embedding program stays; ours then shows nothing.
            let _ = metrics::set_global_recorder(recorder);
            handle
        })
        .clone()
}
