//! What may be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Command, FromArgMatches, Parser, Subcommand, ValueEnum};

use crate::commands::{
    attach, build, config, cp, create, demo, down, events, exec, explain, image, images, kill, load, lock, login,
    logout, logs, ls, pause, plan, port, prune, ps, pull, push, restart, rm, rmi, run, save, scale, start, stats, stop,
    system, tag, top, up, update, volumes, wait,
};

/// Docker Compose without Docker, for one Linux host
#[derive(Debug, Parser)]
#[command(name = "stack", version, disable_help_subcommand = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

impl Arguments {
    /// What this process was given. What is no command ends it here, with what clap says.
    pub(crate) fn given() -> Self {
        let words: Vec<OsString> = std::env::args_os().collect();
        Self::quick(&words).unwrap_or_else(|| Self::parse_from(words))
    }

    /// The same with the verb that seems to be meant as the only one: to put the options of every verb before each of the
    /// others takes longer than many commands. Whatever is not understood this way (help and mistakes too) is `None`, and
    /// has to be parsed with all verbs; a success is the same with and without the others, for no word before a verb is
    /// anything but an option or its value.
    fn quick(words: &[OsString]) -> Option<Self> {
        let all = Verb::augment_subcommands(Command::new("stack"));
        let verb = words.iter().skip(1).find_map(|word| all.find_subcommand(word))?.clone();
        let root = Global::augment_args(Command::new("stack")).subcommand(verb);
        let matches = root.try_get_matches_from(words).ok()?;
        Self::from_arg_matches(&matches).ok()
    }
}

/// Options of every verb.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// A Compose file; may be repeated, later ones override earlier ones. Stands before the verb: `logs -f` follows
    #[arg(short, long, value_name = "FILE")]
    pub(crate) file: Vec<PathBuf>,
    /// The project's name. Stands before the verb: `run -p` publishes a port
    #[arg(short, long, value_name = "NAME")]
    pub(crate) project_name: Option<String>,
    /// Where relative paths of the file begin
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project_directory: Option<PathBuf>,
    /// A profile to enable; may be repeated
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) profile: Vec<String>,
    /// Instead of the project's .env; may be repeated
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) env_file: Vec<PathBuf>,
    /// Images, layers, volumes and projects
    #[arg(long, global = true, env = "STACK_ROOT", value_name = "DIR")]
    pub(crate) root: Option<PathBuf>,
    /// Sockets and locks
    #[arg(long, global = true, env = "STACK_RUN", value_name = "DIR")]
    pub(crate) run_dir: Option<PathBuf>,
    /// Agree to what the file asks of this machine; `stack explain host-access` tells more
    #[arg(long, global = true)]
    pub(crate) trust: bool,
    /// `config` shows what no service uses, too
    #[arg(long)]
    pub(crate) all_resources: bool,
    /// `config` leaves out what the file only implies, as with --no-normalize
    #[arg(long)]
    pub(crate) compatibility: bool,
    /// How progress is shown
    #[arg(long, global = true, value_enum, default_value_t = Progress::Auto)]
    pub(crate) progress: Progress,
    /// When to use colours and other control sequences
    #[arg(long, global = true, value_enum, default_value_t = Ansi::Auto)]
    pub(crate) ansi: Ansi,
}

/// When control sequences are used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Ansi {
    /// On terminals, unless NO_COLOR is set
    Auto,
    /// Never
    Never,
    /// Always
    Always,
}

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Progress {
    /// As a tree on a terminal, else as lines
    Auto,
    /// As a tree
    Tty,
    /// As lines
    Plain,
    /// As events, one JSON value a line
    Json,
    /// Not at all
    Quiet,
}

/// What to do. The options of a verb are put together when it is the one: those of all take half of a short command.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
pub(crate) enum Verb {
    /// Make the machine run what the file says, and keep it so
    Up(up::UpArgs),
    /// Make containers without starting them
    Create(create::CreateArgs),
    /// Stop and remove everything
    Down(down::DownArgs),
    /// List containers
    Ps(ps::PsArgs),
    /// Show what containers wrote
    Logs(logs::LogsArgs),
    /// Run a program in a container
    Exec(exec::ExecArgs),
    /// Run a service once, in a container of its own
    Run(run::RunArgs),
    /// Show what a container writes, and give it what is typed
    Attach(attach::AttachArgs),
    /// Copy files to containers or from them
    Cp(cp::CpArgs),
    /// Show where a port of a service is published
    Port(port::PortArgs),
    /// List projects
    Ls(ls::LsArgs),
    /// List the named volumes of the project
    Volumes(volumes::VolumesArgs),
    /// Change the number of containers of services
    Scale(scale::ScaleArgs),
    /// Remove stopped containers
    Rm(rm::RmArgs),
    /// Show what happens to containers, as it happens
    Events(events::EventsArgs),
    /// List the processes of containers
    Top(top::TopArgs),
    /// Show what containers use
    Stats(stats::StatsArgs),
    /// Freeze containers
    Pause(pause::PauseArgs),
    /// Let frozen containers go on
    Unpause(pause::PauseArgs),
    /// Kill containers, or send them another signal
    Kill(kill::KillArgs),
    /// Wait until containers have ended
    Wait(wait::WaitArgs),
    /// Stop services
    Stop(stop::StopArgs),
    /// Start stopped services
    Start(start::StartArgs),
    /// Restart services
    Restart(restart::RestartArgs),
    /// Show the project as it is understood
    Config(config::ConfigArgs),
    /// Print the JSON Schema of Compose files, for editors
    Schema,
    /// Tell more about the code of a message
    Explain(explain::ExplainArgs),
    /// Show what `up` would do, and why
    Plan(plan::PlanArgs),
    /// Fetch the project's images
    Pull(pull::PullArgs),
    /// Pin the project's images in stack.lock, so that `up` needs no registry
    Lock(lock::LockArgs),
    /// Pin newer images in stack.lock
    Update(update::UpdateArgs),
    /// Load images from a tar file
    Load(load::LoadArgs),
    /// Send images to their registries
    Push(push::PushArgs),
    /// List the images of the store
    Images(images::ImagesArgs),
    /// Take names of images away, and remove what nothing needs any more
    Rmi(rmi::RmiArgs),
    /// Give an image a further name
    Tag(tag::TagArgs),
    /// Write images into a tar file
    Save(save::SaveArgs),
    /// Look into images
    Image(image::ImageArgs),
    /// Remove what nothing needs
    Prune(prune::PruneArgs),
    /// Look at the installation
    System(system::SystemArgs),
    /// Keep credentials for a registry
    Login(login::LoginArgs),
    /// Forget them
    Logout(logout::LogoutArgs),
    /// Build the project's images, or one from a directory
    Build(build::BuildArgs),
    #[command(hide = true)]
    BuildOrdered,
    #[command(hide = true)]
    BuildShell(build::ShellArgs),
    /// Show the version
    Version,
    #[command(hide = true)]
    Demo(demo::DemoArgs),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn split(words: &str) -> Vec<OsString> {
        std::iter::once("stack").chain(words.split(' ')).map(OsString::from).collect()
    }

    /// Parsed both ways, which have to be the same.
    fn parse(words: &str) -> Result<Arguments, clap::Error> {
        let all = Arguments::try_parse_from(split(words));
        if let Some(quick) = Arguments::quick(&split(words)) {
            let all = all.as_ref().unwrap_or_else(|error| panic!("{words}: {error}"));
            assert_eq!(format!("{quick:?}"), format!("{all:?}"), "{words}");
        }
        all
    }

    #[test]
    fn most_commands_are_parsed_with_their_own_verb_only() {
        for (words, is_quick) in [
            ("version", true),
            ("--ansi never build -q -t build .", true),
            ("-p shop run --rm up ls", true),
            ("up --trust -d up", true),
            ("-p up down", false),
            ("-f build up -d", false),
            ("--help", false),
            ("up --help", false),
            ("no-such-verb", false),
        ] {
            assert_eq!(Arguments::quick(&split(words)).is_some(), is_quick, "{words}");
            drop(parse(words));
        }
    }

    #[test]
    fn no_two_options_are_called_the_same() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn what_docker_compose_users_type_is_understood() {
        for words in [
            "-f a.yaml -f b.yaml -p shop up -d --remove-orphans web db",
            "up --wait --wait-timeout 5 --scale web=3 --pull always",
            "--profile debug --env-file x.env --progress plain --ansi never up -d -t 3",
            "down -v -t 0 --remove-orphans",
            "ps -a -q --format json web",
            "logs -f -n 10 -t --since 2026-01-02T03:04:05Z --no-log-prefix --no-color web",
            "logs --tail all",
            "exec -i -t -u 1000:1000 -w /srv -e A=1 -e B --index 2 web sh -c true",
            "exec -T web ls -la",
            "exec -d --privileged web true",
            "run --rm -d -P --entrypoint sh -v a:/b -p 80:80 --name x -e A=1 -u 0 -w / --no-deps -T -i web ls -la",
            "attach --no-stdin --index 1 --detach-keys ctrl-a --sig-proxy=false web",
            "top web",
            "stats -a --no-stream --format json web",
            "pause web",
            "cp -a -L --index 2 web:/etc/hosts .",
            "create --scale web=2 web",
            "port --protocol udp --index 1 web 53",
            "ls -a -q --format json",
            "scale web=3 db=1",
            "rm -f -s -v web",
            "events --json web",
            "unpause",
            "kill -s HUP web",
            "wait --down-project web db",
            "stop -t 1 web",
            "restart",
            "config --format json -o out.json",
            "config --services",
            "config -q",
            "config --no-interpolate --no-normalize --no-path-resolution --no-consistency",
            "config --hash web,db",
            "config --hash *",
            "config --resolve-image-digests",
            "config --lock-image-digests -o stack.lock.yaml",
            "config --environment",
            "config --variables",
            "config --explain TAG",
            "config --why services.web.ports",
            "schema",
            "explain unknown-key",
            "plan --format json",
            "pull -q",
            "load image.tar",
            "push -q a b:1",
            "images --format json",
            "rmi a 1234abcd",
            "tag a b:2",
            "save -o x.tar a b",
            "image inspect a",
            "prune --all",
            "system df",
            "login -u me --password-stdin localhost:5000",
            "logout localhost:5000",
            "build -f x/Dockerfile -t a -t b:1 --target s --build-arg A=1 --build-arg B --no-cache --pull dir",
            "build --secret id=k,src=f --ssh default --network none --add-host db:10.0.0.1 --shm-size 64m .",
            "build",
            "build --no-cache --pull --build-arg A=1 --push --with-dependencies -q web db",
            "up -d --build --quiet-build --quiet-pull",
            "up --no-build --pull policy",
            "pull --ignore-buildable --ignore-pull-failures --include-deps --policy missing web",
            "lock -q",
            "update --dry-run web",
            "version",
        ] {
            parse(words).unwrap_or_else(|error| panic!("{words}: {error}"));
        }
    }

    #[test]
    fn what_means_nothing_is_a_usage_error() {
        for words in [
            "no-such-verb",
            "up --scale web",
            "up --wait-timeout 5",
            "logs --tail some",
            "exec web",
            "up --build --no-build",
            "exec -t -T web a",
        ] {
            assert_eq!(parse(words).expect_err(words).exit_code(), 2, "{words}");
        }
    }
}
