//! Who may call a route.

use protocol::{ErrorCode, Scope};

use crate::error::{Error, Refused};

/// Who may call a route.
#[derive(Clone, Copy, Debug)]
pub enum Access {
    /// Anyone, without a key.
    Public,
    /// This scope and those above it on the ladder agent, worker, admin, service.
    AtLeast(Scope),
    /// Exactly these scopes.
    Only(&'static [Scope]),
}

impl Access {
    /// Whether a key of this scope may.
    pub fn admits(self, scope: Scope) -> bool {
        match self {
            Self::Public => true,
            Self::AtLeast(least) => scope >= least,
            Self::Only(scopes) => scopes.contains(&scope),
        }
    }

    /// The access in words, as refusals and the API description say it.
    pub fn describe(self) -> String {
        match self {
            Self::Public => "none".to_owned(),
            Self::AtLeast(scope) => scope.to_string(),
            Self::Only(scopes) => scopes
                .iter()
                .map(|scope| scope.as_str())
                .collect::<Vec<_>>()
                .join(" or "),
        }
    }

    /// Refuses a scope that may not.
    ///
    /// # Errors
    /// 403 that names the scope the route needs.
    pub fn check(self, scope: Scope) -> Result<(), Error> {
        if self.admits(scope) {
            return Ok(());
        }
        let needed = self.describe();
        let message = format!("this route needs scope {needed}; this key has scope {scope}");
        Err(Refused::new(ErrorCode::Forbidden, message)
            .hint("use a key with that scope")
            .required_scope(needed)
            .into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_scope_includes_the_ones_before_it() {
        let access = Access::AtLeast(Scope::Worker);
        assert!(!access.admits(Scope::Agent));
        assert!(
            access.admits(Scope::Worker)
                && access.admits(Scope::Admin)
                && access.admits(Scope::Service)
        );
    }

    #[test]
    fn an_exact_list_includes_nothing_else() {
        let access = Access::Only(&[Scope::Admin, Scope::Worker]);
        assert!(
            access.admits(Scope::Worker)
                && !access.admits(Scope::Service)
                && !access.admits(Scope::Agent)
        );
    }
}
