//! The command line: what can be asked for, with the help that a newcomer reads. No behaviour lives here.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands::tracker::args::TrackerArgs;

/// Take data into the field, bring it back whole.
///
/// Haversack serves feature layers, checks parts of them out into ordinary GeoPackage files, lets any program edit
/// those files offline, and brings the edits back with nothing lost.
///
/// New here? Run `haversack demo`.
#[derive(Debug, Parser)]
#[command(
    name = "haversack",
    version,
    propagate_version = true,
    max_term_width = 100
)]
#[command(after_help = "\
Exit codes:
  0  done
  1  failed; the sentence on standard error says why and what to do
  2  the command line was not understood
  3  done, but something waits for you: an open conflict, a refused edit, a replica that differs
  4  the server asks for other credentials, or does not allow this
  5  the server could not be reached; nothing is lost, run the same command again
  6  the replica file needs `haversack repair`")]
pub(crate) struct Cli {
    /// Print one JSON document on standard output instead of text.
    #[arg(long, global = true)]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the whole story in a minute: serve, check out twice, edit offline, sync, resolve a conflict.
    Demo(DemoArgs),
    /// Serve the services of a data directory (and create it when it is new).
    Serve(ServeArgs),
    /// Manage the users of a data directory and what they may do.
    User(UserArgs),
    /// Load a GeoJSON or GeoPackage file into a service.
    Import(ImportArgs),
    /// Make a collection of this server a copy of another server's.
    Pull(PullArgs),
    /// Say whether a collection equals another server's, and where it does not; changes nothing.
    Compare(CompareArgs),
    /// Say how far a job of a server is.
    Job(JobArgs),
    /// Check a part of a feature service out into a GeoPackage file that works offline.
    Checkout(CheckoutArgs),
    /// Say what a replica file holds: edits that wait, conflicts, the last sync.
    Status(FileArgs),
    /// Show the edits that have not been sent yet, field by field.
    Diff(FileArgs),
    /// Send the edits of a replica file and fetch what others changed.
    Sync(SyncArgs),
    /// Show and decide conflicts.
    Conflicts(ConflictsArgs),
    /// Prove that a replica file equals its server, row for row.
    Verify(ServerFileArgs),
    /// List the replicas that a feature service knows.
    Replicas(ReplicasArgs),
    /// Unregister a replica at its server; the file stays as it is.
    Release(ReleaseArgs),
    /// Put a replica file right after a program dropped its triggers or replaced its tables.
    Repair(ServerFileArgs),
    /// Work offline with the tracker data of a DHIS2 server.
    Tracker(TrackerArgs),
    /// Keep a login for a server, so that later commands need no password.
    Login(LoginArgs),
    /// Show every setting, its value and where it comes from.
    Config(ConfigArgs),
}

/// How to reach a server.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Connection")]
pub(crate) struct ConnectArgs {
    /// User name.
    #[arg(long, env = "HAVERSACK_USER")]
    pub(crate) user: Option<String>,
    /// Read the password from standard input (otherwise: HAVERSACK_PASSWORD, a kept login, or a prompt).
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// A token instead of user name and password.
    #[arg(long, env = "HAVERSACK_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// Trust the certificates in this PEM file, too.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Do not check the server's certificate. Anyone on the way can then read and change what you send.
    #[arg(long)]
    pub(crate) insecure: bool,
    /// Wait no longer than so many seconds for any one answer [default: up to 600, by what is asked].
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) patience: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Where to put the files; must be empty or new [default: a new folder `haversack-demo` here].
    #[arg(long, value_name = "DIR")]
    pub(crate) dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack serve data --sample                        try it on this machine
  haversack serve data --user ada --password s3cret    the first start names the administrator

The port speaks http and https alike. Beyond this machine only https is answered, unless --insecure-http.")]
pub(crate) struct ServeArgs {
    /// Data directory; created when it does not exist.
    pub(crate) dir: PathBuf,
    /// Publish the sample services in a new directory.
    #[arg(long)]
    pub(crate) sample: bool,
    /// Port to listen on; 0 takes a free one and prints it [default: 8080].
    #[arg(long)]
    pub(crate) port: Option<u16>,
    /// Address to listen on [default: 127.0.0.1].
    #[arg(long)]
    pub(crate) host: Option<IpAddr>,
    /// Name of the first administrator of a new directory [default: admin].
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Password of the first administrator [default: a random one, printed once].
    #[arg(long, env = "HAVERSACK_PASSWORD", hide_env_values = true)]
    pub(crate) password: Option<String>,
    /// Answer plain http beyond this machine, too. Passwords and data travel unprotected then.
    #[arg(long)]
    pub(crate) insecure_http: bool,
    /// An address that the server itself may connect to, such as tcp://127.0.0.1:*; may be repeated.
    #[arg(long, value_name = "ENDPOINT")]
    pub(crate) allow_endpoint: Vec<String>,
    /// Certificates (PEM) by which such servers may show who they are, beside those of the system.
    #[arg(long, value_name = "FILE")]
    pub(crate) endpoint_ca: Option<PathBuf>,
    /// Synchronise the tracker data of this server with a DHIS2 server above it.
    #[arg(long, value_name = "URL", help_heading = "Upstream")]
    pub(crate) upstream: Option<String>,
    /// Time from one synchronisation with it to the next: 30s, 5m, 2h [default: 5m].
    #[arg(long, value_name = "TIME", value_parser = crate::commands::serve::interval, help_heading = "Upstream")]
    pub(crate) upstream_interval: Option<std::time::Duration>,
    /// User name there; the password comes from HAVERSACK_UPSTREAM_PASSWORD or a file, or a token from HAVERSACK_UPSTREAM_TOKEN or a kept login.
    #[arg(
        long,
        value_name = "NAME",
        env = "HAVERSACK_UPSTREAM_USER",
        help_heading = "Upstream"
    )]
    pub(crate) upstream_user: Option<String>,
    /// File that holds the password there, readable by you alone.
    #[arg(long, value_name = "FILE", help_heading = "Upstream")]
    pub(crate) upstream_password_file: Option<PathBuf>,
    /// How log lines look [default: text].
    #[arg(long, value_enum)]
    pub(crate) log: Option<LogFormat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

fn layer_number(text: &str) -> Result<u32, String> {
    text.trim()
        .parse()
        .map_err(|_not_a_number| "layers are named by their numbers, such as 0,2".to_owned())
}

/// The data directory that a command works on.
#[derive(Debug, Args)]
pub(crate) struct DataArgs {
    /// Data directory of the server.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct UserArgs {
    #[command(subcommand)]
    pub(crate) action: UserAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserAction {
    /// Add a user. The password is read from standard input or asked for.
    Add {
        /// Name of the user.
        name: String,
        /// Make it an administrator: every right on every service.
        #[arg(long)]
        admin: bool,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Change a user's password; tokens of the user end.
    Passwd {
        /// Name of the user.
        name: String,
        /// Read the password from standard input.
        #[arg(long)]
        password_stdin: bool,
        #[command(flatten)]
        data: DataArgs,
    },
    /// List users and what they may do.
    List {
        #[command(flatten)]
        data: DataArgs,
    },
    /// Say what a user may do on a service.
    ///
    /// Rights are read, edit, sync, extract, publish and admin. What was granted before is replaced.
    #[command(after_help = "\
Examples:
  haversack user grant ben Hydrants read,edit,sync --data data
  haversack user grant anonymous Hydrants read --data data                       everybody may look
  haversack user grant ben Hydrants read,edit --rows \"0:district = 'north'\" --data data")]
    Grant {
        /// Name of the user; `*` for whoever is logged in, `anonymous` for everybody.
        name: String,
        /// Name of the service.
        service: String,
        /// Rights, separated by commas; `none` takes all away.
        rights: String,
        /// Only these rows of a layer, as LAYER:WHERE, such as `0:district = 'north'`; may be repeated.
        #[arg(long, value_name = "LAYER:WHERE")]
        rows: Vec<String>,
        #[command(flatten)]
        data: DataArgs,
    },
    /// Remove a user and end its tokens.
    Remove {
        /// Name of the user.
        name: String,
        #[command(flatten)]
        data: DataArgs,
    },
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack import parks.geojson --service Parks --data data
  haversack import city.gpkg --service City --data data
  haversack import more.geojson --service Parks --layer 0 --data data      adds to layer 0")]
pub(crate) struct ImportArgs {
    /// GeoJSON or GeoPackage file.
    pub(crate) file: PathBuf,
    /// Service to load into; created when it does not exist.
    #[arg(long)]
    pub(crate) service: String,
    /// Layer to add the features to [default: a new layer].
    #[arg(long)]
    pub(crate) layer: Option<u32>,
    /// Data directory of the server, which may be running.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack checkout http://127.0.0.1:8080/arcgis/rest/services/WildfireSync/FeatureServer -o fire.gpkg
  haversack checkout URL -o north.gpkg --layers 0,2 --where \"district = 'north'\" --attachments

Open the file in QGIS or any other program that reads GeoPackage, edit it offline, then run `haversack sync`.")]
pub(crate) struct CheckoutArgs {
    /// URL of the feature service, ending in /FeatureServer.
    pub(crate) url: String,
    /// File to make.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Layers and tables to take, by number, such as 0,2 [default: all].
    #[arg(long, value_delimiter = ',', value_parser = layer_number)]
    pub(crate) layers: Vec<u32>,
    /// Only rows that match this condition; LAYER:CONDITION limits one layer alone. May be repeated.
    #[arg(long = "where", value_name = "CONDITION")]
    pub(crate) condition: Vec<String>,
    /// Only rows that meet this box: west,south,east,north in degrees.
    #[arg(long, value_name = "W,S,E,N", allow_hyphen_values = true)]
    pub(crate) bbox: Option<String>,
    /// Who decides when the same field was changed on both sides.
    #[arg(long, value_enum, default_value_t = PolicyArg::Merge)]
    pub(crate) policy: PolicyArg,
    /// Take photos and other attachments along.
    #[arg(long)]
    pub(crate) attachments: bool,
    /// Leave the spatial index out, for programs that edit geometry without GeoPackage's SQL functions.
    #[arg(long)]
    pub(crate) no_spatial_index: bool,
    /// Whether the file travels compressed: `auto` where the way is slow.
    #[arg(long, value_enum, default_value_t = Compress::Auto, value_name = "WHEN")]
    pub(crate) compress: Compress,
    /// Name of the replica at the server [default: the file's name].
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Speak the GeoServices protocol even if the server is a Haversack.
    #[arg(long)]
    pub(crate) geoservices: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Compress {
    /// Where fewer than 50 MB arrive in a second.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PolicyArg {
    /// Merge field by field; a field that both changed stays as the server has it until you decide.
    Merge,
    /// The last sync wins.
    Client,
    /// The server wins.
    Server,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// Replica file, as made by `haversack checkout`.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct ServerFileArgs {
    /// Replica file, as made by `haversack checkout`.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SyncArgs {
    /// Replica file, as made by `haversack checkout`.
    pub(crate) file: PathBuf,
    /// Only show what would happen, field by field; nothing is sent and nothing changes.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Compare everything anew with the server instead of asking for its changes. Unsent edits stay and are sent.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) resync: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseArgs {
    /// Replica file, as made by `haversack checkout`.
    pub(crate) file: PathBuf,
    /// Release even if edits wait to be sent; they stay in the file, and a later sync would register it again.
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack conflicts list fire.gpkg
  haversack conflicts show fire.gpkg 5f0c
  haversack conflicts resolve fire.gpkg 5f0c --keep mine
  haversack conflicts resolve fire.gpkg 5f0c --keep theirs --set name=\"North gate\"

`haversack sync` makes a decision known.")]
pub(crate) struct ConflictsArgs {
    #[command(subcommand)]
    pub(crate) action: ConflictAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConflictAction {
    /// List the open conflicts of a replica file, those that a server keeps of your uploads, or those of a clinic with the country.
    List {
        /// Replica file, URL of a feature service of a Haversack, or of a clinic (serve --upstream) as a whole.
        #[arg(value_name = "FILE|URL")]
        place: String,
        /// Decided ones, too: who decided what, and when.
        #[arg(long)]
        all: bool,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Show one conflict: base, mine and theirs side by side.
    Show {
        /// Replica file, URL of a feature service of a Haversack, or of a clinic (serve --upstream) as a whole.
        #[arg(value_name = "FILE|URL")]
        place: String,
        /// Id of the conflict, or enough of its beginning.
        id: String,
        #[command(flatten)]
        connect: ConnectArgs,
    },
    /// Decide a conflict. In a file the decision is an edit like any other and goes out with the next sync; at a server it
    /// holds at once, and replicas learn of it with their next sync.
    #[command(group = clap::ArgGroup::new("decision").required(true).args(["keep", "set"]).multiple(true))]
    Resolve {
        /// Replica file, URL of a feature service of a Haversack, or of a clinic (serve --upstream) as a whole.
        #[arg(value_name = "FILE|URL")]
        place: String,
        /// Id of the conflict, or enough of its beginning.
        id: String,
        /// Which version to keep.
        #[arg(long, value_enum)]
        keep: Option<Keep>,
        /// A value of your own for one field, as FIELD=VALUE; empty for null. May be repeated.
        #[arg(long, value_name = "FIELD=VALUE")]
        set: Vec<String>,
        #[command(flatten)]
        connect: ConnectArgs,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keep {
    /// What the uploader had written.
    Mine,
    /// What the server had.
    Theirs,
    /// What it was before both edits.
    Base,
}

#[derive(Debug, Args)]
pub(crate) struct ReplicasArgs {
    /// URL of the feature service, ending in /FeatureServer.
    pub(crate) url: String,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack login https://maps.example.org --user ben
  haversack login https://maps.example.org --forget

A token is kept for 30 days in your configuration folder, readable by you alone; never the password.")]
pub(crate) struct LoginArgs {
    /// URL of the server, or of one of its services.
    pub(crate) url: String,
    /// Forget the login that is kept for this server.
    #[arg(long)]
    pub(crate) forget: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ConfigArgs {
    /// Data directory whose settings to show [default: the built-in values].
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

/// A collection here and the one that it is compared with.
#[derive(Debug, Args)]
pub(crate) struct PullFrom {
    /// Name of the collection here.
    pub(crate) name: String,
    /// The other server, such as tcp://primary:8529 or https://primary:8080.
    #[arg(long, value_name = "URL", visible_alias = "with")]
    pub(crate) from: String,
    /// Database (service) at the other server.
    #[arg(long, default_value = "_system")]
    pub(crate) database: String,
    /// Service here; made when it does not exist [default: of the same name].
    #[arg(long, value_name = "SERVICE")]
    pub(crate) into: Option<String>,
    /// Name of the collection at the other server [default: the same].
    #[arg(long, value_name = "NAME")]
    pub(crate) collection: Option<String>,
    /// Compare the contents, too. Finds damage that no revision tells of; reads everything on both sides.
    #[arg(long)]
    pub(crate) deep: bool,
    /// How long the other server may be silent, in seconds.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) max_wait: Option<u64>,
    /// Data directory of this server, which may be running.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

impl PullFrom {
    /// The service here.
    pub(crate) fn service(&self) -> &str {
        self.into.as_deref().unwrap_or(&self.database)
    }
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack pull test --from tcp://primary:8529 --data data                 the database is _system
  haversack pull Trees --from https://primary:8080 --database Parks --into ParksCopy --data data
  haversack pull test --from tcp://primary:8529 --dry-run --data data       says what would change

The same command again costs what changed. Old documents stay until the new ones are proven equal to the primary's.")]
#[allow(
    clippy::struct_excessive_bools,
    reason = "they are flags of a command line"
)]
pub(crate) struct PullArgs {
    #[command(flatten)]
    pub(crate) from: PullFrom,
    /// Say what would be inserted, replaced and removed; change nothing.
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Fetch only what differs. Between two Haversacks that is always so; from an ArangoDB all is fetched without it.
    #[arg(long)]
    pub(crate) incremental: bool,
    /// Start a job in the running server and print its id.
    #[arg(long = "async", conflicts_with = "follow")]
    pub(crate) detach: bool,
    /// Go on after the first copy, and take over what changes, until stopped.
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) follow: bool,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack compare test --with tcp://primary:8529 --data data

Exit code 0: equal; 3: something differs.")]
pub(crate) struct CompareArgs {
    #[command(flatten)]
    pub(crate) with: PullFrom,
    /// How many differences to list at most [default: 1000].
    #[arg(long)]
    pub(crate) list: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct JobArgs {
    /// Its id.
    pub(crate) id: uuid::Uuid,
    /// Wait for its end.
    #[arg(long)]
    pub(crate) wait: bool,
    /// Data directory of the server.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(crate) data: PathBuf,
}
