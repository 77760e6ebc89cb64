//! By what a deployment's requests are authorised where that is more than a key in a header: accounts, access keys and roles of clouds.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

/// Who a deployment's requests are from.
#[derive(Clone, Debug)]
pub enum Identity {
    /// An account of Google's.
    Google(GoogleAccount),
    /// An access key of AWS, which signs.
    AwsKeys(AwsKeys),
    /// A role of AWS, whose temporary keys sign.
    AwsRole(AwsRole),
    /// An application of Azure's directory.
    Azure(AzureApp),
    /// A client of a provider's own token service.
    Client(OauthClient),
}

impl Identity {
    /// What the account is known by: to be compared, and never to be told.
    #[must_use]
    pub fn account(&self) -> Cow<'_, str> {
        match self {
            Self::Google(account) => match &account.proof {
                GoogleProof::Key { email, .. } => email.as_str().into(),
                GoogleProof::Refresh { token, .. } => token.expose_secret().into(),
                GoogleProof::Federated(federation) => federation.account().into(),
            },
            Self::AwsKeys(keys) => keys.access_key.as_str().into(),
            Self::AwsRole(role) => role.arn.as_str().into(),
            Self::Azure(app) => format!("{} {}", app.tenant, app.client).into(),
            Self::Client(client) => format!("{} {}", client.url, client.id).into(),
        }
    }

    /// Its secrets, to be compared and to be taken out of what a provider says.
    #[must_use]
    pub fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Google(account) => account.proof.secrets(),
            Self::AwsKeys(keys) => keys.secrets(),
            Self::AwsRole(role) => role.secrets(),
            Self::Azure(app) => vec![app.secret.expose_secret()],
            Self::Client(client) => vec![client.secret.expose_secret()],
        }
    }
}

/// An account of Google's, as its key file says.
#[derive(Clone, Debug)]
pub struct GoogleAccount {
    /// The address that gives its tokens.
    pub token_uri: String,
    /// The project that its requests count for, where that is another than the one they name.
    pub quota_project: Option<String>,
    /// What its tokens are given for.
    pub proof: GoogleProof,
}

/// What tokens of an account of Google's are given for.
#[derive(Clone)]
pub enum GoogleProof {
    /// A word that a service account's key has signed.
    Key {
        /// The name of the account.
        email: String,
        /// The name of the key.
        id: Option<String>,
        /// The key, in PEM.
        key: SecretString,
    },
    /// A user's consent, which a client has been given for good.
    Refresh {
        /// The client's id, which is no secret.
        client: String,
        /// The client's secret.
        secret: SecretString,
        /// The token that stands for the consent.
        token: SecretString,
    },
    /// A token by which another service says who somebody is.
    Federated(Box<Federation>),
}

impl GoogleProof {
    /// The service account, the client that asks for a user, or whom another service's tokens are for.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Key { email, .. } => email,
            Self::Refresh { client, .. } => client,
            Self::Federated(federation) => &federation.audience,
        }
    }

    /// What else is said of how its tokens are given, beside its secrets: to be compared, and never to be told.
    #[must_use]
    pub fn details(&self) -> Vec<String> {
        match self {
            Self::Key { .. } | Self::Refresh { .. } => Vec::new(),
            Self::Federated(federation) => federation.details(),
        }
    }

    fn secrets(&self) -> Vec<&str> {
        match self {
            Self::Key { key, .. } => vec![key.expose_secret()],
            Self::Refresh { secret, token, .. } => vec![secret.expose_secret(), token.expose_secret()],
            Self::Federated(federation) => federation.client.iter().map(|(_, secret)| secret.expose_secret()).collect(),
        }
    }
}

impl fmt::Debug for GoogleProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key { email, id, .. } => {
                f.debug_struct("Key").field("email", email).field("id", id).finish_non_exhaustive()
            }
            Self::Refresh { client, .. } => f.debug_struct("Refresh").field("client", client).finish_non_exhaustive(),
            Self::Federated(federation) => f.debug_tuple("Federated").field(federation).finish(),
        }
    }
}

/// How another service's tokens are exchanged for Google's (workload identity federation).
#[derive(Clone, Debug)]
pub struct Federation {
    /// The provider of a pool of identities that they are for.
    pub audience: String,
    /// What kind of token they are.
    pub subject_type: String,
    /// Where they are.
    pub source: SubjectSource,
    /// The field that holds a token, where it stands in a JSON object.
    pub field: Option<String>,
    /// A client that the exchange is for, and its secret.
    pub client: Option<(String, SecretString)>,
    /// The project that the exchange counts for, of people rather than programs.
    pub user_project: Option<String>,
    /// The service account that requests are made as, where that is not the identity itself.
    pub impersonation: Option<Impersonation>,
}

/// Where another service's tokens are.
#[derive(Clone, Debug)]
pub enum SubjectSource {
    /// In a file, which whoever runs the gateway renews: read for each exchange.
    File(PathBuf),
    /// At an address, which is asked for each exchange.
    Url {
        /// The address.
        url: String,
        /// What is sent to it, some of which may be secret.
        headers: Vec<(String, SecretString)>,
    },
}

/// A service account that somebody else may act as.
#[derive(Clone, Debug)]
pub struct Impersonation {
    /// The address that gives its tokens.
    pub url: String,
    /// How long one is to hold.
    pub lifetime: Duration,
}

impl Federation {
    fn account(&self) -> String {
        let source = match &self.source {
            SubjectSource::File(path) => path.display().to_string(),
            SubjectSource::Url { url, .. } => url.clone(),
        };
        let service_account = self.impersonation.as_ref().map(|account| account.url.as_str());
        format!("{} {source} {}", self.audience, service_account.unwrap_or_default())
    }

    fn details(&self) -> Vec<String> {
        let Self { subject_type, source, field, client, user_project, impersonation, .. } = self;
        let client = client.as_ref().map(|(id, _)| id);
        let headers: &[(String, SecretString)] = match source {
            SubjectSource::File(_) => &[],
            SubjectSource::Url { headers, .. } => headers,
        };
        let headers = headers.iter().map(|(name, value)| format!("{name}: {}", value.expose_secret()));
        let told = format!("{subject_type:?} {source:?} {field:?} {client:?} {user_project:?} {impersonation:?}");
        std::iter::once(told).chain(headers).collect()
    }
}

/// An access key of AWS, and the region it is used in.
#[derive(Clone)]
pub struct AwsKeys {
    /// The name of the key, which is no secret.
    pub access_key: String,
    /// The key.
    pub secret_key: SecretString,
    /// The token of a session with temporary keys.
    pub session_token: Option<SecretString>,
    /// The region requests are signed for.
    pub region: String,
}

impl AwsKeys {
    fn secrets(&self) -> Vec<&str> {
        let secrets = [Some(&self.secret_key), self.session_token.as_ref()];
        secrets.into_iter().flatten().map(ExposeSecret::expose_secret).collect()
    }
}

impl fmt::Debug for AwsKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsKeys").field("region", &self.region).finish_non_exhaustive()
    }
}

/// A role of AWS, as it is taken on.
#[derive(Clone, Debug)]
pub struct AwsRole {
    /// Its ARN.
    pub arn: String,
    /// The name that its sessions have in AWS's logs.
    pub session: String,
    /// What the role's owner wants said, where it wants anything.
    pub external_id: Option<String>,
    /// The address of the service that gives temporary keys.
    pub service: String,
    /// The region that requests to that service are signed for.
    pub service_region: String,
    /// The region requests are signed for.
    pub region: String,
    /// Who asks for the role.
    pub proof: RoleProof,
}

impl AwsRole {
    fn secrets(&self) -> Vec<&str> {
        match &self.proof {
            RoleProof::Keys(keys) => keys.secrets(),
            RoleProof::Token(IdentityToken::Text(token)) => vec![token.expose_secret()],
            RoleProof::Token(IdentityToken::File(_)) => Vec::new(),
            RoleProof::Role(first) => first.secrets(),
        }
    }

    /// The file that holds the token by which it, or the role that asks for it, is asked for.
    #[must_use]
    pub fn token_file(&self) -> Option<&Path> {
        match &self.proof {
            RoleProof::Token(IdentityToken::File(path)) => Some(path),
            RoleProof::Role(first) => first.token_file(),
            RoleProof::Keys(_) | RoleProof::Token(IdentityToken::Text(_)) => None,
        }
    }
}

/// Who asks for a role.
#[derive(Clone, Debug)]
pub enum RoleProof {
    /// The owner of an access key.
    Keys(AwsKeys),
    /// Whom another service knows, by its token.
    Token(IdentityToken),
    /// Another role, which is taken on first.
    Role(Box<AwsRole>),
}

/// A token by which another service says who somebody is.
#[derive(Clone)]
pub enum IdentityToken {
    /// The token.
    Text(SecretString),
    /// In a file, which whoever runs the gateway renews: read for each exchange.
    File(PathBuf),
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File(_) => "File",
            Self::Text(_) => "Text",
        })
    }
}

/// An application of Azure's directory, with its secret.
#[derive(Clone)]
pub struct AzureApp {
    /// The directory.
    pub tenant: String,
    /// The application.
    pub client: String,
    /// Its secret.
    pub secret: SecretString,
    /// What tokens are asked for.
    pub scope: String,
    /// The address that gives them, without the directory.
    pub authority: String,
}

impl fmt::Debug for AzureApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tenant, client, scope, authority, .. } = self;
        f.debug_struct("AzureApp")
            .field("tenant", tenant)
            .field("client", client)
            .field("scope", scope)
            .field("authority", authority)
            .finish_non_exhaustive()
    }
}

/// A client of a provider, with its secret, that is given tokens for them.
#[derive(Clone)]
pub struct OauthClient {
    /// The address that gives them.
    pub url: String,
    /// The client's id, which is no secret.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
    /// What tokens are asked for.
    pub scope: String,
}

impl fmt::Debug for OauthClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { url, id, scope, .. } = self;
        f.debug_struct("OauthClient").field("url", url).field("id", id).field("scope", scope).finish_non_exhaustive()
    }
}
