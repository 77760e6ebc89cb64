//! Keys of `litellm_params` that say who a cloud's requests are from, where that is more than a key.

use secrecy::SecretString;

use crate::config::section::Section;

/// A secret, with the name of the variable it came from.
type Named<'r> = Option<(SecretString, Option<&'r str>)>;

/// A role of AWS (`aws_role_name` …).
#[derive(Clone)]
pub(in crate::config) struct RoleKeys<'r> {
    pub(in crate::config) name: Option<String>,
    pub(in crate::config) session: Option<String>,
    pub(in crate::config) external_id: Option<String>,
    pub(in crate::config) sts_endpoint: Option<String>,
    pub(in crate::config) web_identity_token: Named<'r>,
}

impl<'r> RoleKeys<'r> {
    /// Their names, and whether each was read.
    pub(in crate::config) fn given(&self) -> [(&'static str, bool); 5] {
        [
            ("aws_role_name", self.name.is_some()),
            ("aws_session_name", self.session.is_some()),
            ("aws_external_id", self.external_id.is_some()),
            ("aws_sts_endpoint", self.sts_endpoint.is_some()),
            ("aws_web_identity_token", self.web_identity_token.is_some()),
        ]
    }

    pub(super) fn read(section: &mut Section<'r, '_>) -> Self {
        Self {
            name: section.text_or_leave_out("aws_role_name"),
            session: section.text_or_leave_out("aws_session_name"),
            external_id: section.text_or_leave_out("aws_external_id"),
            sts_endpoint: section.text_or_leave_out("aws_sts_endpoint"),
            web_identity_token: section.secret_or_leave_out("aws_web_identity_token"),
        }
    }
}

/// An application of Azure's directory (`tenant_id` …).
#[derive(Clone)]
pub(in crate::config) struct AppKeys<'r> {
    pub(in crate::config) tenant: Option<String>,
    pub(in crate::config) client: Option<String>,
    pub(in crate::config) secret: Named<'r>,
    pub(in crate::config) scope: Option<String>,
}

impl<'r> AppKeys<'r> {
    /// Their names, and whether each was read.
    pub(in crate::config) fn given(&self) -> [(&'static str, bool); 4] {
        [
            ("tenant_id", self.tenant.is_some()),
            ("client_id", self.client.is_some()),
            ("client_secret", self.secret.is_some()),
            ("azure_scope", self.scope.is_some()),
        ]
    }

    pub(super) fn read(section: &mut Section<'r, '_>) -> Self {
        Self {
            tenant: section.text_or_leave_out("tenant_id"),
            client: section.text_or_leave_out("client_id"),
            secret: section.secret_or_leave_out("client_secret"),
            scope: section.text_or_leave_out("azure_scope"),
        }
    }
}
