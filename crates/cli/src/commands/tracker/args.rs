//! Arguments of `haversack tracker`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::ConnectArgs;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  haversack tracker login https://dhis2.example -o clinic.gpkg --user ada
  haversack tracker download clinic.gpkg --limit 1000
  haversack tracker upload clinic.gpkg
  haversack tracker status clinic.gpkg

The file is a GeoPackage: each tracked entity type, program and program stage is a layer that QGIS and any SQLite program may edit.")]
pub(crate) struct TrackerArgs {
    #[command(subcommand)]
    pub(crate) action: TrackerAction,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TrackerAction {
    /// Make a copy of a DHIS2 server's metadata, ready for tracker data; or check a login for a copy, without the network too.
    Login(LoginArgs),
    /// Forget the token that was kept for the server of a copy; the copy stays as it is, and may be logged in to again without the network.
    Logout(FileArgs),
    /// Fetch the metadata anew.
    Metadata(RemoteArgs),
    /// Fetch tracked entities, enrollments, events, relationships and aggregate data: all at first, then what changed.
    Download(DownloadArgs),
    /// Send what was edited in a copy, and say what became of each record.
    Upload(UploadArgs),
    /// Fetch values of generated attributes ahead, for people who are registered without a network.
    Reserve(ReserveArgs),
    /// Say what a copy holds: objects by kind and state, marks, what waits.
    Status(FileArgs),
    /// List what clashed with the server, and what the server refused, with hints.
    Conflicts(FileArgs),
    /// Break the glass: let this user see a tracked entity in a protected program for some hours. The server writes it down.
    BreakGlass(GlassArgs),
    /// Remove what a copy holds.
    Wipe(WipeArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LoginArgs {
    /// URL of the server, with or without /api; or a copy that is there.
    #[arg(value_name = "URL|FILE")]
    pub(crate) at: String,
    /// The file to make.
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RemoteArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct DownloadArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
    /// At most so many tracked entities, and so many events without registration. A download of changes has no limit [default: as the
    /// server's settings app says, else 500; what it says of a single program goes before it, unless --program names that one].
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,
    /// The limit holds for each program.
    #[arg(long)]
    pub(crate) limit_by_program: bool,
    /// The limit holds for each organisation unit.
    #[arg(long)]
    pub(crate) limit_by_orgunit: bool,
    /// Only this program.
    #[arg(long, value_name = "UID")]
    pub(crate) program: Option<String>,
    /// Only entities with an enrollment of this status, such as ACTIVE.
    #[arg(long, value_name = "STATUS")]
    pub(crate) status: Option<String>,
    /// Only these tracked entities; with --program whole in that program.
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    pub(crate) uid: Vec<String>,
    /// Use this tracker API where the server has both (2.40 and 2.41) [default: as the server's settings app says, else new].
    #[arg(long, value_enum)]
    pub(crate) api: Option<ApiArg>,
    /// Only tracker data, or only aggregate data. Both is usual; with --uid and --program it is tracker data alone.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Part>,
    /// Of aggregate data only these data sets.
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    pub(crate) data_sets: Vec<String>,
    /// Of aggregate data only these periods (202611, 2026W5, 2026Q4), whole [default: some before and after the present one].
    #[arg(long, value_name = "PERIOD", value_delimiter = ',')]
    pub(crate) periods: Vec<String>,
    /// So many periods before the present one [default: as the server's settings app says, else 60 days, 13 weeks, 12 months, 6 double
    /// months, 5 of longer ones].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(0..=1000), conflicts_with = "periods")]
    pub(crate) past_periods: Option<u16>,
    /// Also the pictures and documents that values name. Looks at all records.
    #[arg(long)]
    pub(crate) files: bool,
    /// Leave out files that are larger [default: as the server's settings app says, else 6000000].
    #[arg(long, value_name = "BYTES", requires = "files")]
    pub(crate) max_file_bytes: Option<usize>,
    /// As if the server's settings app said nothing of what is downloaded.
    #[arg(long)]
    pub(crate) ignore_settings: bool,
    /// Everything, not only what changed since the last download. Unsent work stays.
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Tracked entities, enrollments, events and relationships.
    Tracker,
    /// Data values and completions of data sets.
    Aggregate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApiArg {
    /// `trackedEntityInstances` and so on.
    Old,
    /// `tracker/..`.
    New,
}

#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
    /// Also what was refused or warned of before and not changed since.
    #[arg(long)]
    pub(crate) retry_errors: bool,
    /// Use this tracker API where the server has both (2.38 to 2.41) [default: as the server's settings app says, else by its version].
    #[arg(long, value_enum)]
    pub(crate) api: Option<ApiArg>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ReserveArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
    /// Only this attribute [default: all that are generated].
    #[arg(long, value_name = "UID")]
    pub(crate) attribute: Option<String>,
    /// Only this organisation unit, where the pattern holds its code [default: all in which data is entered].
    #[arg(long, value_name = "UID")]
    pub(crate) org_unit: Option<String>,
    /// Take one value out of the pool and print it: nobody else gets it.
    #[arg(long)]
    pub(crate) take: bool,
    /// Values in a full pool; remembered for the attribute [default: 100].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=1000))]
    pub(crate) full: Option<u64>,
    /// Fill a pool that has fewer than this [default: half of a full one].
    #[arg(long, value_name = "N")]
    pub(crate) threshold: Option<u64>,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Args)]
pub(crate) struct GlassArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
    /// The tracked entity.
    #[arg(long, value_name = "UID")]
    pub(crate) entity: String,
    /// The program.
    #[arg(long, value_name = "UID")]
    pub(crate) program: String,
    /// Why; others will read it.
    #[arg(long)]
    pub(crate) reason: String,
    #[command(flatten)]
    pub(crate) connect: ConnectArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum WipeLevel {
    /// The metadata; tracker data and unsent work stay.
    Metadata,
    /// Tracker data, reserved values, conflicts and marks.
    Data,
    /// The whole file.
    Everything,
}

#[derive(Debug, Args)]
pub(crate) struct WipeArgs {
    /// The copy, as made by `haversack tracker login`.
    pub(crate) file: PathBuf,
    /// How much.
    #[arg(long, value_enum)]
    pub(crate) level: WipeLevel,
    /// First keep the whole copy as this file: what was never sent can be sent from there.
    #[arg(long, value_name = "FILE")]
    pub(crate) export: Option<PathBuf>,
    /// Also what was never sent. Without this or --export nothing is removed while something waits.
    #[arg(long)]
    pub(crate) discard_unsent: bool,
}
