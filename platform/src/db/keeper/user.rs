//! The system user the server runs as.
//!
//! PostgreSQL refuses root, and it refuses a cluster that belongs to somebody else. An existing
//! cluster therefore decides; a new one belongs to us, or, if we are root, to `postgres`, else
//! to `nobody`.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, User};

/// Users a root platform may run the server as, the better one first.
const SERVER_USERS: [&str; 2] = ["postgres", "nobody"];

/// Who owns the cluster and runs the server.
#[derive(Clone, Debug)]
pub(super) struct ServerUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) name: String,
    /// We are root, and files and processes of the server must be handed to this user.
    pub(super) is_another: bool,
}

impl ServerUser {
    /// Chooses the user for the cluster at `cluster`, which need not exist yet.
    pub(super) fn choose(cluster: &Path) -> anyhow::Result<Self> {
        let us = Uid::effective();
        let owner = fs::metadata(cluster)
            .ok()
            .map(|folder| (folder.uid(), folder.gid()));
        match owner {
            Some((0, _)) => bail!(
                "{} belongs to root, as which PostgreSQL refuses to run; hand it over with: \
                 chown -R {} {}",
                cluster.display(),
                SERVER_USERS[0],
                cluster.display(),
            ),
            Some((uid, gid)) if us.is_root() => Ok(Self::of(uid, gid, true)),
            Some((uid, gid)) if uid == us.as_raw() => Ok(Self::of(uid, gid, false)),
            Some((uid, _)) => bail!(
                "{} belongs to user {}, but the platform runs as {}; run it as the same user \
                 as before, or as root",
                cluster.display(),
                name_of(uid),
                name_of(us.as_raw()),
            ),
            None if us.is_root() => Self::for_root(),
            None => Self::ourselves(us),
        }
    }

    fn for_root() -> anyhow::Result<Self> {
        for name in SERVER_USERS {
            let found = User::from_name(name).with_context(|| format!("looking up user {name}"))?;
            if let Some(user) = found {
                return Ok(Self::of(user.uid.as_raw(), user.gid.as_raw(), true));
            }
        }
        bail!(
            "PostgreSQL refuses to run as root, and this machine has neither a user {} nor {}; \
             create one, run the platform as an ordinary user, or set DATABASE_URL",
            SERVER_USERS[0],
            SERVER_USERS[1],
        )
    }

    fn ourselves(us: Uid) -> anyhow::Result<Self> {
        // initdb looks its user up by number and gives up if there is no name.
        if User::from_uid(us)
            .context("looking up our own user")?
            .is_none()
        {
            bail!(
                "user id {us} has no entry in /etc/passwd, which initdb needs; add one, or set \
                 DATABASE_URL to use a PostgreSQL server that runs elsewhere"
            );
        }
        Ok(Self::of(us.as_raw(), Gid::effective().as_raw(), false))
    }

    fn of(uid: u32, gid: u32, is_another: bool) -> Self {
        Self {
            uid,
            gid,
            name: name_of(uid),
            is_another,
        }
    }

    /// Hands a file or folder to this user, where that is not ourselves anyway.
    pub(super) fn take(&self, path: &Path) -> anyhow::Result<()> {
        if self.is_another {
            std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
                .with_context(|| format!("handing {} to user {}", path.display(), self.name))?;
        }
        Ok(())
    }

    fn may_enter(&self, folder: &Metadata) -> bool {
        // The server drops its additional groups, so these three classes are all there is.
        let bit = if folder.uid() == self.uid {
            0o100
        } else if folder.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        folder.mode() & bit != 0
    }
}

/// Refuses a folder the server's user cannot reach, naming the parent that is in the way.
///
/// PostgreSQL itself would only say "Permission denied" about the innermost path.
pub(super) fn check_entry(folder: &Path, user: &ServerUser) -> anyhow::Result<()> {
    if !user.is_another {
        return Ok(());
    }
    let folder = folder
        .canonicalize()
        .with_context(|| format!("opening {}", folder.display()))?;
    let mut parents: Vec<&Path> = folder.ancestors().collect();
    parents.reverse();
    for parent in parents {
        let metadata =
            fs::metadata(parent).with_context(|| format!("looking at {}", parent.display()))?;
        if !user.may_enter(&metadata) {
            bail!(
                "PostgreSQL runs as user {} because the platform is root, and that user may not \
                 enter {}, on the way to {}; choose another folder, such as /var/lib/stint, or \
                 allow it with: chmod o+x {}",
                user.name,
                parent.display(),
                folder.display(),
                parent.display(),
            );
        }
    }
    Ok(())
}

fn name_of(uid: u32) -> String {
    let known = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    known.map_or_else(|| uid.to_string(), |user| user.name)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_parent_that_is_closed_to_the_server_is_named() {
        let outer = tempfile::tempdir().unwrap();
        let closed = outer.path().canonicalize().unwrap().join("closed");
        let inner = closed.join("inner");
        fs::create_dir_all(&inner).unwrap();
        fs::set_permissions(outer.path(), Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o700)).unwrap();
        let owner = fs::metadata(&closed).unwrap();
        let stranger = ServerUser::of(owner.uid() + 1, owner.gid() + 1, true);

        let refusal = check_entry(&inner, &stranger).unwrap_err().to_string();
        assert!(
            refusal.ends_with(&format!("chmod o+x {}", closed.display())),
            "{refusal}"
        );

        let owner = ServerUser::of(owner.uid(), owner.gid(), true);
        assert!(owner.may_enter(&fs::metadata(&closed).unwrap()));
    }
}
