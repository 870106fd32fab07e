//! Contexts: clusters by name, in a file of the operator's. Certificates are named by path, never held.
//!
//! ```toml
//! current = "staging"
//!
//! [contexts.staging]
//! endpoints = ["node-1.switch:7003", "node-2.switch:7003"]
//! certificate = "/etc/payswitch/ann.pem"
//! key = "/etc/payswitch/ann-key.pem"
//! roots = "/etc/payswitch/operator-roots.pem"
//! ```
//!
//! A flag goes before the environment, the environment before the context.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{cli::Global, exit::Exit, failure::Failure};

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Contexts {
    /// Name of the one that is used without `--context`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// By name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// How one cluster is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Context {
    /// Operator listeners, host:port.
    pub(crate) endpoints: Vec<String>,
    /// PEM chain.
    pub(crate) certificate: PathBuf,
    /// PEM key.
    pub(crate) key: PathBuf,
    /// PEM roots.
    pub(crate) roots: PathBuf,
    /// Name that nodes' certificates carry instead of the endpoint's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) server_name: Option<String>,
}

/// Puts into the options what neither flag nor environment gave.
pub(crate) fn fill(global: &mut Global) -> Result<(), Failure> {
    let complete =
        !global.endpoint.is_empty() && global.certificate.is_some() && global.key.is_some() && global.roots.is_some();
    if complete && global.context.is_none() {
        return Ok(());
    }
    let path = path(global)?;
    let Contexts { current, mut contexts } = read(&path)?;
    let Some(name) = global.context.clone().or(current) else { return Ok(()) };
    let context = contexts.remove(&name).ok_or_else(|| missing(&name, &path))?;
    // What cannot be taken back asks for the cluster by this name.
    global.context = Some(name);
    let Context { endpoints, certificate, key, roots, server_name } = context;
    if global.endpoint.is_empty() {
        global.endpoint = endpoints;
    }
    global.certificate.get_or_insert(certificate);
    global.key.get_or_insert(key);
    global.roots.get_or_insert(roots);
    global.server_name = global.server_name.take().or(server_name);
    Ok(())
}

/// Where the file is.
pub(crate) fn path(global: &Global) -> Result<PathBuf, Failure> {
    if let Some(path) = &global.contexts {
        return Ok(path.clone());
    }
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let folder = folder("XDG_CONFIG_HOME").or_else(|| folder("HOME").map(|home| home.join(".config")));
    let folder = folder.ok_or_else(|| Failure::usage("neither XDG_CONFIG_HOME nor HOME says where contexts are"))?;
    Ok(folder.join("payswitch").join("contexts.toml"))
}

/// Reads the file; nothing where there is none. It says which private key is shown to whom: nobody else may write to it.
pub(crate) fn read(path: &Path) -> Result<Contexts, Failure> {
    let wrong = |words: String| Failure::local(Exit::Usage, "CONTEXTS", format!("{}: {words}", path.display()));
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Contexts::default()),
        text => text.map_err(|error| wrong(error.to_string()))?,
    };
    let mode = fs::metadata(path).map_err(|error| wrong(error.to_string()))?.permissions().mode();
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(wrong(format!("others may write to it (mode {:o}): chmod 600", mode & 0o777)));
    }
    toml::from_str(&text).map_err(|error| wrong(error.to_string()))
}

/// Writes the file beside itself and puts it into its place.
pub(crate) fn write(path: &Path, contexts: &Contexts) -> Result<(), Failure> {
    let failed =
        |error: std::io::Error| Failure::local(Exit::Failure, "CONTEXTS", format!("{}: {error}", path.display()));
    let text = toml::to_string(contexts);
    let text = text.map_err(|error| Failure::local(Exit::Failure, "CONTEXTS", error.to_string()))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let beside = path.with_extension("toml.new");
    let file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let mut file = file.map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&beside, path).map_err(failed)
}

/// No context of that name.
pub(crate) fn missing(name: &str, path: &Path) -> Failure {
    Failure::local(Exit::NotFound, "CONTEXT_NOT_FOUND", format!("{} has no context {name}", path.display()))
}

const WRITABLE_BY_OTHERS: u32 = 0o022;

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    fn staging() -> Contexts {
        let context = Context {
            endpoints: vec!["a:1".into(), "b:2".into()],
            certificate: "/c".into(),
            key: "/k".into(),
            roots: "/r".into(),
            server_name: None,
        };
        Contexts { current: Some("staging".into()), contexts: BTreeMap::from([("staging".into(), context)]) }
    }

    fn folder(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("admin-cli-{name}-{}", std::process::id()))
    }

    fn filled(path: &Path, line: &str) -> Result<Global, Failure> {
        let line = format!("admin-cli --contexts {} {line}", path.display());
        let mut global = Cli::try_parse_from(line.split(' ')).expect("a command line").global;
        fill(&mut global).map(|()| global)
    }

    #[test]
    fn a_flag_goes_before_the_context_and_the_rest_comes_from_it() {
        let folder = folder("fill");
        let path = folder.join("contexts.toml");
        write(&path, &staging()).expect("written");
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let global = filled(&path, "cluster status").expect("filled");
        assert_eq!((global.endpoint.len(), global.certificate), (2, Some("/c".into())));
        let global = filled(&path, "--endpoint c:3 cluster status").expect("filled");
        assert_eq!((global.endpoint, global.key), (vec!["c:3".to_owned()], Some("/k".into())));
        let failure = filled(&path, "--context nowhere cluster status").expect_err("not there");
        assert_eq!(failure.exit, Exit::NotFound);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn a_file_that_others_may_write_to_is_refused() {
        let folder = folder("mode");
        let path = folder.join("contexts.toml");
        write(&path, &staging()).expect("written");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).expect("changed");
        assert_eq!(read(&path).expect_err("refused").exit, Exit::Usage);
        fs::remove_dir_all(folder).expect("removed");
    }

    #[test]
    fn without_a_file_there_are_no_contexts() {
        assert_eq!(read(Path::new("/nowhere/contexts.toml")), Ok(Contexts::default()));
    }
}
