//! Finding the programs of PostgreSQL on this machine.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::db::PG_MAJOR_MIN;

/// A folder that holds `initdb` and `postgres`.
#[derive(Clone, Debug)]
pub(super) struct Binaries {
    pub(super) folder: PathBuf,
    pub(super) version: Version,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Version {
    pub(super) major: u32,
    pub(super) text: String,
}

/// Finds the programs to use: those in `given` and no others, or the first suitable ones in the
/// usual places.
///
/// A cluster can only be opened by the major version that made it, so where there is one,
/// nothing else is suitable.
pub(super) fn find(given: Option<&Path>, cluster_major: Option<u32>) -> anyhow::Result<Binaries> {
    let (found, looked_in) = match given {
        Some(folder) => {
            ensure!(
                holds_programs(folder),
                "STINT_PG_BIN is {}, which does not hold both initdb and postgres; set it to the \
                 folder that does, for example /usr/lib/postgresql/{PG_MAJOR_MIN}/bin",
                folder.display(),
            );
            let version = version_of(folder)?;
            (
                vec![Binaries {
                    folder: resolved(folder),
                    version,
                }],
                vec![folder.to_owned()],
            )
        }
        None => {
            let places = usual_places();
            let mut found: Vec<Binaries> = Vec::new();
            for place in places.iter().filter(|place| holds_programs(place)) {
                let folder = resolved(place);
                if found.iter().any(|known| known.folder == folder) {
                    continue;
                }
                // One that does not even tell its version is of no use, but no reason to stop.
                if let Ok(version) = version_of(&folder) {
                    found.push(Binaries { folder, version });
                }
            }
            (found, places)
        }
    };
    choose(found, cluster_major, &looked_in)
}

fn choose(
    found: Vec<Binaries>,
    cluster_major: Option<u32>,
    looked_in: &[PathBuf],
) -> anyhow::Result<Binaries> {
    let listed = if found.is_empty() {
        "none".to_owned()
    } else {
        let each: Vec<_> = found
            .iter()
            .map(|one| format!("{} in {}", one.version.text, one.folder.display()))
            .collect();
        each.join(", ")
    };
    let suitable = found.into_iter().find(|one| match cluster_major {
        Some(major) => one.version.major == major,
        None => one.version.major >= PG_MAJOR_MIN,
    });
    if let Some(binaries) = suitable {
        return Ok(binaries);
    }
    if let Some(major) = cluster_major {
        bail!(
            "the private database was made by PostgreSQL {major} and opens with no other major \
             version; found: {listed}. Install PostgreSQL {major}, or point STINT_PG_BIN to its \
             bin folder"
        );
    }
    let looked_in: Vec<_> = looked_in
        .iter()
        .map(|place| place.display().to_string())
        .collect();
    bail!(
        "no PostgreSQL {PG_MAJOR_MIN} or later was found to keep a private database with; found: \
         {listed}; looked in: {}. Install PostgreSQL, or point STINT_PG_BIN to the folder that \
         holds initdb and postgres, or set DATABASE_URL to use a server that runs elsewhere",
        looked_in.join(", "),
    )
}

fn usual_places() -> Vec<PathBuf> {
    let mut places = Vec::new();
    // Beside our executable, so that a package can bring its own.
    let executable = std::env::current_exe()
        .ok()
        .and_then(|path| path.canonicalize().ok());
    if let Some(beside) = executable.as_deref().and_then(Path::parent) {
        places.push(beside.to_owned());
        places.push(beside.join("pg/bin"));
    }
    if let Some(path) = std::env::var_os("PATH") {
        places.extend(std::env::split_paths(&path).filter(|place| place.is_absolute()));
    }
    places.extend(versions_in("/usr/lib/postgresql", "", "bin"));
    for homebrew in [
        "/opt/homebrew/opt",
        "/usr/local/opt",
        "/home/linuxbrew/.linuxbrew/opt",
    ] {
        places.extend(versions_in(homebrew, "postgresql@", "bin"));
    }
    places.push(PathBuf::from("/usr/local/pgsql/bin"));
    places
}

/// The folders `<parent>/<prefix><number>/<end>`, the highest number first.
fn versions_in(parent: &str, prefix: &str, end: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(parent) else {
        return Vec::new();
    };
    let mut numbered: Vec<(u32, PathBuf)> = entries
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name();
            let number = name.to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((number, entry.path().join(end)))
        })
        .collect();
    numbered.sort_by_key(|(number, _)| Reverse(*number));
    numbered.into_iter().map(|(_, place)| place).collect()
}

fn holds_programs(folder: &Path) -> bool {
    ["initdb", "postgres"]
        .iter()
        .all(|program| folder.join(program).is_file())
}

/// The folder that links lead to, beside which the libraries lie.
fn resolved(folder: &Path) -> PathBuf {
    let program = folder.join("postgres").canonicalize().ok();
    let real = program
        .as_deref()
        .and_then(Path::parent)
        .filter(|real| holds_programs(real));
    real.unwrap_or(folder).to_owned()
}

fn version_of(folder: &Path) -> anyhow::Result<Version> {
    let program = folder.join("postgres");
    let output = Command::new(&program)
        .arg("--version")
        .output()
        .with_context(|| format!("running {} --version", program.display()))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    parse_version(&answer).with_context(|| {
        format!(
            "{} --version answered {:?}",
            program.display(),
            answer.trim()
        )
    })
}

/// Reads `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 19devel` and their like.
fn parse_version(answer: &str) -> Option<Version> {
    let text = answer
        .split_once("(PostgreSQL)")?
        .1
        .split_whitespace()
        .next()?;
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    Some(Version {
        major: text[..digits].parse().ok()?,
        text: text.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binaries(texts: &[&str]) -> Vec<Binaries> {
        let each = texts.iter().map(|text| Binaries {
            folder: PathBuf::from(format!("/pg/{text}")),
            version: parse_version(&format!("postgres (PostgreSQL) {text}\n")).unwrap(),
        });
        each.collect()
    }

    #[test]
    fn versions_are_read_as_distributions_print_them() {
        let major = |answer| parse_version(answer).map(|version| version.major);
        assert_eq!(
            major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major("postgres (PostgreSQL) 19devel\n"), Some(19));
        assert_eq!(major("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(major("command not found"), None);
    }

    #[test]
    fn links_to_the_programs_lead_to_their_own_folder() {
        let outer = tempfile::tempdir().unwrap();
        let outer = outer.path().canonicalize().unwrap();
        let (real, links) = (outer.join("real"), outer.join("links"));
        for folder in [&real, &links] {
            fs::create_dir(folder).unwrap();
        }
        for program in ["initdb", "postgres"] {
            fs::write(real.join(program), "").unwrap();
            std::os::unix::fs::symlink(real.join(program), links.join(program)).unwrap();
        }
        assert_eq!(resolved(&links), real);
        assert_eq!(resolved(&real), real);
    }

    #[test]
    fn the_first_suitable_one_is_taken() {
        let chosen = choose(binaries(&["14.2", "16.1", "18.0"]), None, &[]).unwrap();
        assert_eq!(chosen.version.text, "16.1");
    }

    #[test]
    fn a_cluster_takes_only_its_own_major_version() {
        let chosen = choose(binaries(&["18.0", "15.3"]), Some(15), &[]).unwrap();
        assert_eq!(chosen.version.text, "15.3");

        let refusal = choose(binaries(&["15.3"]), Some(18), &[])
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("PostgreSQL 18") && refusal.contains("15.3"),
            "{refusal}"
        );
    }

    #[test]
    fn older_ones_are_refused_naming_the_versions() {
        let refusal = choose(binaries(&["13.9", "14.2"]), None, &[])
            .unwrap_err()
            .to_string();
        for part in [
            "PostgreSQL 15 or later",
            "13.9",
            "14.2",
            "STINT_PG_BIN",
            "DATABASE_URL",
        ] {
            assert!(refusal.contains(part), "{refusal}");
        }
    }

    #[test]
    fn a_machine_without_any_is_told_where_we_looked() {
        let refusal = choose(Vec::new(), None, &["/opt/x".into()])
            .unwrap_err()
            .to_string();
        assert!(
            refusal.contains("found: none; looked in: /opt/x"),
            "{refusal}"
        );
    }
}
