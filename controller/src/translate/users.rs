//! Users and the hashes of their passwords, from Secrets.

use std::sync::Arc;

use portcullis_routing::step::Users;

use super::{Reader, memo::Memo};
use crate::{
    ir::{ObjectKey, Secret, ingress::SecretForm},
    snapshot::Snapshot,
};

/// The key of a Secret that holds a file of `htpasswd`.
const FILE: &str = "auth";

/// The users that were read. Each Secret is read once, however many Ingresses and hosts ask for its users.
#[derive(Debug, Default)]
pub struct UsersPool {
    files: Memo<Secret, Option<Arc<Users>>>,
    maps: Memo<Secret, Option<Arc<Users>>>,
}

/// Why there are no users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UsersError {
    #[error("{} not found", .0)]
    NotFound(ObjectKey),
    #[error("{} is not read yet", .0)]
    Pending(ObjectKey),
    #[error("{} has no key {FILE}", .0)]
    Missing(ObjectKey),
}

impl UsersPool {
    /// The users of a Secret.
    ///
    /// # Errors
    /// [`UsersError`] if there is no such Secret, or no file in it.
    pub(super) fn read(
        &self,
        reader: &Reader<'_>,
        key: &ObjectKey,
        form: SecretForm,
    ) -> Result<Arc<Users>, UsersError> {
        let missing = || match reader.is_pending(key) {
            true => UsersError::Pending(key.clone()),
            false => UsersError::NotFound(key.clone()),
        };
        let secret = reader.secret(key).ok_or_else(missing)?;
        let owner = &*key.namespace;
        let is_same = |known: &Secret| known.data == secret.data;
        let users = match form {
            SecretForm::File => self.files.get(key, secret, is_same, || {
                secret.data.get(FILE).map(|file| Arc::new(Users::of_file(owner, file)))
            }),
            SecretForm::Map => self.maps.get(key, secret, is_same, || {
                let map = secret.data.iter().map(|(name, hash)| (&**name, &**hash));
                Some(Arc::new(Users::of_map(owner, map)))
            }),
        };
        users.ok_or_else(|| UsersError::Missing(key.clone()))
    }

    /// Forgets the users of Secrets that are gone.
    pub fn forget_unused(&self, snapshot: &Snapshot) {
        self.files.retain(|key| snapshot.secrets.contains_key(key));
        self.maps.retain(|key| snapshot.secrets.contains_key(key));
    }
}
