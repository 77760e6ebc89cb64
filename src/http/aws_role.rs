//! Requests to Amazon's clouds, signed with the temporary keys of a role: they are asked of AWS's Security Token Service, by an access
//! key's signature, by another service's token (`AssumeRole`, `AssumeRoleWithWebIdentity`) or by another role that such a token
//! gave, and kept until shortly before they end.
//!
//! Shapes are those of the service model `sts` 2011-06-15 in `botocore` 1.44.8 on `PyPI`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use form_urlencoded::Serializer;
use futures_util::FutureExt;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use secrecy::{ExposeSecret, SecretString};

use super::ask;
use super::aws_signature::AwsSignature;
use super::kept::{Kept, Unfetched};
use crate::authorization::{Authorizer, Authorizing};
use crate::catalog::{AwsKeys, AwsRole, IdentityToken, RoleProof};
use crate::moment::Moment;
use crate::upstream::{Sent, Timeouts, UpstreamRequest};

/// The name of the service in signatures.
const SERVICE: &str = "sts";
const VERSION: &str = "2011-06-15";
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
/// No token is longer.
const LONGEST_TOKEN: u64 = 1 << 16;

/// One role and its temporary keys.
pub struct AwsRoleKeys {
    role: AwsRole,
    /// What signs for the role, where an access key asks.
    asking: Option<AwsSignature>,
    /// One for all regions: temporary keys hold in each.
    keys: Arc<Kept<Arc<AwsSignature>>>,
}

impl AwsRoleKeys {
    /// Nothing is asked of anybody yet.
    ///
    /// # Errors
    /// A session's token cannot be sent in a header.
    pub fn new(role: &AwsRole) -> Result<Self, String> {
        let asking = match &role.proof {
            RoleProof::Keys(keys) => Some(AwsSignature::of_service(&for_service(keys, role), SERVICE)?),
            RoleProof::Token(_) | RoleProof::Role(_) => None,
        };
        Ok(Self { role: role.clone(), asking, keys: Arc::default() })
    }

    /// The keys that sign requests now. A role that asks for this one is taken on first, anew each time.
    async fn ask(&self, now: Moment) -> Result<(Arc<AwsSignature>, Duration), Unfetched> {
        let (keys, length) = match &self.role.proof {
            RoleProof::Role(first) => {
                let (keys, _) = taken_on(first, None, now).await?;
                let asking = AwsSignature::of_service(&for_service(&keys, &self.role), SERVICE)?;
                taken_on(&self.role, Some(&asking), now).await?
            }
            RoleProof::Keys(_) | RoleProof::Token(_) => taken_on(&self.role, self.asking.as_ref(), now).await?,
        };
        Ok((Arc::new(AwsSignature::new(&keys)?), length))
    }
}

/// Keys as they sign for the service that gives a role's.
fn for_service(keys: &AwsKeys, role: &AwsRole) -> AwsKeys {
    AwsKeys { region: role.service_region.clone(), ..keys.clone() }
}

fn form(role: &AwsRole, token: Option<&SecretString>) -> String {
    let AwsRole { arn, session, external_id, .. } = role;
    let mut form = Serializer::new(String::new());
    form.append_pair("Action", if token.is_some() { "AssumeRoleWithWebIdentity" } else { "AssumeRole" });
    form.append_pair("Version", VERSION).append_pair("RoleArn", arn).append_pair("RoleSessionName", session);
    // Whoever comes with a token has none.
    if let Some(external_id) = external_id.as_ref().filter(|_| token.is_none()) {
        form.append_pair("ExternalId", external_id);
    }
    if let Some(token) = token {
        form.append_pair("WebIdentityToken", token.expose_secret());
    }
    form.finish()
}

/// A role's temporary keys and how long they hold, asked for by the role's token or by whose signature `asking` is.
async fn taken_on(
    role: &AwsRole,
    asking: Option<&AwsSignature>,
    now: Moment,
) -> Result<(AwsKeys, Duration), Unfetched> {
    let AwsRole { service, region, proof, .. } = role;
    let token = match proof {
        RoleProof::Keys(_) | RoleProof::Role(_) => None,
        RoleProof::Token(IdentityToken::Text(token)) => Some(token.clone()),
        RoleProof::Token(IdentityToken::File(path)) => Some(read(path).await?),
    };
    let mut request = UpstreamRequest {
        url: format!("{service}/"),
        headers: HeaderMap::from_iter([(CONTENT_TYPE, FORM)]),
        body: Bytes::from(form(role, token.as_ref())),
        timeouts: Timeouts::default(),
        sent: Sent::default(),
    };
    if let Some(asking) = asking {
        asking.sign(&mut request, now)?;
    }
    let secrets: Vec<SecretString> = token.into_iter().chain(request.secrets()).collect();
    let answer = ask::post(&request.url, request.headers, request.body, &secrets).await?;
    let said = |name: &str| ask::text_of(&answer, name).ok_or_else(|| format!("{service}: the answer has no `{name}`"));
    let until = Moment::parse(said("Expiration")?).ok_or_else(|| format!("{service}: the keys have no end"))?;
    let keys = AwsKeys {
        access_key: said("AccessKeyId")?.to_owned(),
        secret_key: SecretString::from(said("SecretAccessKey")?),
        session_token: Some(SecretString::from(said("SessionToken")?)),
        region: region.clone(),
    };
    Ok((keys, until.since(now)))
}

/// The token that a file holds, without the space around it.
///
/// # Errors
/// The file cannot be read.
pub(super) async fn read(path: &std::path::Path) -> Result<SecretString, String> {
    use tokio::io::AsyncReadExt as _;

    let shown = |fault: std::io::Error| format!("{}: cannot be read: {fault}", path.display());
    let file = tokio::fs::File::open(path).await.map_err(shown)?;
    let mut text = String::new();
    file.take(LONGEST_TOKEN).read_to_string(&mut text).await.map_err(shown)?;
    Ok(SecretString::from(text.trim()))
}

impl Authorizer for AwsRoleKeys {
    fn authorize<'a>(&'a self, request: &'a mut UpstreamRequest, now: Moment) -> Authorizing<'a> {
        async move {
            let signed = match self.keys.get(now, self.ask(now)).await {
                Ok(keys) => keys.sign_in(&self.role.region, request, now).map_err(Unfetched::from),
                Err(unfetched) => Err(unfetched),
            };
            signed.map_err(|unfetched| unfetched.fault(format_args!("keys of the role `{}`", self.role.arn)))
        }
        .boxed()
    }

    fn in_region(&self, region: &str) -> Option<Arc<dyn Authorizer>> {
        let role = AwsRole { region: region.to_owned(), ..self.role.clone() };
        Some(Arc::new(Self { role, asking: self.asking.clone(), keys: Arc::clone(&self.keys) }))
    }
}

impl fmt::Debug for AwsRoleKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AwsRoleKeys").field("role", &self.role).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::super::tests::exchange::{Endpoint, authorized};
    use super::*;

    /// 2026-11-26T15:04:05Z.
    const NOW: Moment = Moment::from_millis(1_795_705_445_000);

    fn role(service: &str, proof: RoleProof) -> AwsRole {
        AwsRole {
            arn: "arn:aws:iam::123456789012:role/study".to_owned(),
            session: "desk-1".to_owned(),
            external_id: Some("e 1".to_owned()),
            service: service.to_owned(),
            service_region: "us-east-1".to_owned(),
            region: "eu-west-1".to_owned(),
            proof,
        }
    }

    fn keys() -> AwsKeys {
        AwsKeys {
            access_key: "AKIDEXAMPLE".to_owned(),
            secret_key: "own-secret".into(),
            session_token: None,
            region: "eu-west-1".to_owned(),
        }
    }

    fn answer(action: &str, number: u32) -> (&'static str, String) {
        let credentials = format!(
            "<Credentials><AccessKeyId>ASIA{number}</AccessKeyId><SecretAccessKey>temporary/+{number}</SecretAccessKey>\
             <SessionToken>FwoG/{number}==</SessionToken><Expiration>2026-11-26T16:04:05Z</Expiration></Credentials>"
        );
        let mut text = format!("<{action}Response xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n");
        write!(text, "<{action}Result>{credentials}</{action}Result></{action}Response>").unwrap();
        ("200 OK", text)
    }

    #[tokio::test]
    async fn a_role_is_taken_on_once_for_all_and_again_before_its_keys_end() {
        let endpoint = Endpoint::start(|number| answer("AssumeRole", number));
        let keys = AwsRoleKeys::new(&role(&endpoint.origin, RoleProof::Keys(keys()))).unwrap();
        let all = futures_util::future::join_all((0..5).map(|_| authorized(&keys, NOW))).await;
        for headers in &all {
            let headers = headers.as_ref().unwrap();
            let told = headers["authorization"].to_str().unwrap();
            assert!(
                told.starts_with("AWS4-HMAC-SHA256 Credential=ASIA1/20261126/eu-west-1/bedrock/aws4_request"),
                "{told}"
            );
            assert_eq!(headers["x-amz-security-token"], "FwoG/1==");
        }
        let later = NOW + Duration::from_secs(3600) - super::super::kept::EARLY;
        assert_eq!(authorized(&keys, later).await.unwrap()["x-amz-security-token"], "FwoG/2==");
        let asked = endpoint.asked();
        assert_eq!(asked.len(), 2);
        let form = "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fstudy\
                    &RoleSessionName=desk-1&ExternalId=e+1";
        assert!(asked[0].ends_with(form), "{}", asked[0]);
        assert!(asked[0].contains("Credential=AKIDEXAMPLE/20261126/us-east-1/sts/aws4_request"), "{}", asked[0]);
        assert!(!asked[0].contains("own-secret") && !format!("{keys:?}").contains("own-secret"));
    }

    #[tokio::test]
    async fn keys_of_a_role_sign_in_every_region() {
        let endpoint = Endpoint::start(|number| answer("AssumeRole", number));
        let keys = AwsRoleKeys::new(&role(&endpoint.origin, RoleProof::Keys(keys()))).unwrap();
        authorized(&keys, NOW).await.unwrap();
        let elsewhere = keys.in_region("us-west-2").unwrap();
        let headers = authorized(&*elsewhere, NOW).await.unwrap();
        let told = headers["authorization"].to_str().unwrap();
        assert!(told.contains("Credential=ASIA1/20261126/us-west-2/bedrock/aws4_request"), "{told}");
        assert_eq!(endpoint.asked().len(), 1);
    }

    #[tokio::test]
    async fn a_token_of_another_service_is_read_anew_for_each_exchange() {
        let endpoint = Endpoint::start(|number| answer("AssumeRoleWithWebIdentity", number));
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token");
        std::fs::write(&path, "ey.one\n").unwrap();
        let proof = RoleProof::Token(IdentityToken::File(path.clone()));
        let keys = AwsRoleKeys::new(&role(&endpoint.origin, proof)).unwrap();
        authorized(&keys, NOW).await.unwrap();
        std::fs::write(&path, "ey.two").unwrap();
        authorized(&keys, NOW + Duration::from_secs(3590)).await.unwrap();
        let asked = endpoint.asked();
        assert!(asked[0].contains("Action=AssumeRoleWithWebIdentity&") && !asked[0].contains("authorization:"));
        assert!(asked[0].ends_with("&WebIdentityToken=ey.one") && asked[1].ends_with("&WebIdentityToken=ey.two"));
        std::fs::remove_file(&path).unwrap();
        let fault = authorized(&keys, NOW + Duration::from_secs(7200)).await.unwrap_err();
        assert!(!fault.was_sent() && fault.message.contains("cannot be read"), "{}", fault.message);
    }

    #[tokio::test]
    async fn a_role_that_is_refused_fails_the_attempt_before_it_is_sent() {
        let refusals = [
            ("403 Forbidden", "<Error><Code>AccessDenied</Code></Error>", "AccessDenied"),
            ("200 OK", "<AssumeRoleResponse/>", "has no `Expiration`"),
        ];
        for (status, body, told) in refusals {
            let endpoint = Endpoint::start(move |_| (status, body.to_owned()));
            let keys = AwsRoleKeys::new(&role(&endpoint.origin, RoleProof::Keys(keys()))).unwrap();
            let fault = authorized(&keys, NOW).await.unwrap_err();
            assert!(!fault.was_sent() && fault.message.contains(told), "{}", fault.message);
        }
    }

    #[tokio::test]
    async fn a_role_is_reached_by_way_of_the_one_that_a_token_gives() {
        let endpoint = Endpoint::start(|number| answer("AssumeRole", number));
        let token = RoleProof::Token(IdentityToken::Text("ey.pod".into()));
        let first =
            AwsRole { arn: "arn:aws:iam::1:role/pod".to_owned(), external_id: None, ..role(&endpoint.origin, token) };
        let keys = AwsRoleKeys::new(&role(&endpoint.origin, RoleProof::Role(Box::new(first)))).unwrap();
        assert_eq!(authorized(&keys, NOW).await.unwrap()["x-amz-security-token"], "FwoG/2==");
        let asked = endpoint.asked();
        assert!(asked[0].contains("role%2Fpod&") && asked[0].ends_with("&WebIdentityToken=ey.pod"), "{}", asked[0]);
        assert!(asked[1].contains("Credential=ASIA1/20261126/us-east-1/sts/aws4_request"), "{}", asked[1]);
        assert!(asked[1].contains("x-amz-security-token: FwoG/1==") && asked[1].contains("Action=AssumeRole&"));
        assert!(asked[1].contains("role%2Fstudy&") && asked[1].ends_with("&ExternalId=e+1"), "{}", asked[1]);
    }
}
