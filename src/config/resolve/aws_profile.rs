//! An access key out of AWS's shared credentials file, by the name of its profile. It is read when the configuration is.

use std::io::Read as _;
use std::path::PathBuf;

use secrecy::SecretString;

/// Where the file is, unless this variable says.
const FILE_ENV: &str = "AWS_SHARED_CREDENTIALS_FILE";
/// The variable that names a profile where the entry does not.
const NAME_ENV: &str = "AWS_PROFILE";
const DEFAULT: &str = "default";
/// No such file is larger.
const LARGEST: u64 = 1 << 20;
/// What a profile may say in the place of an access key, none of which is asked.
const ELSEWHERE: [&str; 5] = ["role_arn", "credential_process", "sso_session", "sso_start_url", "credential_source"];

/// What a profile says.
#[derive(Default)]
pub(super) struct Profile {
    pub(super) access: Option<SecretString>,
    pub(super) secret: Option<SecretString>,
    pub(super) token: Option<SecretString>,
    /// A way to authorise that is not there.
    pub(super) elsewhere: Option<&'static str>,
}

/// The profile of this name, or of the variable's, or the default one.
///
/// # Errors
/// It was named and is not there, or its file cannot be read; in words.
pub(super) fn find(name: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Profile>, String> {
    let named = name.map(str::to_owned).or_else(|| variable(NAME_ENV));
    let home = || Some(PathBuf::from(variable("HOME")?).join(".aws/credentials"));
    let Some(path) = variable(FILE_ENV).map(PathBuf::from).or_else(home) else {
        return named.map_or(Ok(None), |name| Err(format!("nobody says where the file of the profile `{name}` is")));
    };
    let mut text = String::new();
    let read = std::fs::File::open(&path).and_then(|file| file.take(LARGEST).read_to_string(&mut text));
    match (read, named) {
        (Ok(_), named) => {
            let name = named.as_deref().unwrap_or(DEFAULT);
            let profile = profile(&text, name);
            if profile.is_none() && named.is_some() {
                return Err(format!("{} has no profile `{name}`", path.display()));
            }
            Ok(profile)
        }
        // Whoever has no such file has no profiles.
        (Err(_), None) => Ok(None),
        (Err(fault), Some(name)) => Err(format!("the profile `{name}` is not to be had: {}: {fault}", path.display())),
    }
}

/// What stands under `[name]`.
fn profile(text: &str, name: &str) -> Option<Profile> {
    let mut found: Option<Profile> = None;
    let mut within = false;
    for line in text.lines().map(str::trim) {
        if let Some(heading) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            within = heading.0.trim() == name;
            if within {
                found.get_or_insert_default();
            }
            continue;
        }
        let Some((key, value)) = line.split_once('=').filter(|_| within && !line.starts_with(['#', ';'])) else {
            continue;
        };
        let Some(profile) = &mut found else { continue };
        let (key, value) = (key.trim(), value.trim());
        let secret = || Some(SecretString::from(value)).filter(|_| !value.is_empty());
        match key {
            "aws_access_key_id" => profile.access = secret(),
            "aws_secret_access_key" => profile.secret = secret(),
            "aws_session_token" => profile.token = secret(),
            _ => profile.elsewhere = profile.elsewhere.or(ELSEWHERE.into_iter().find(|elsewhere| *elsewhere == key)),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const FILE: &str = "# two accounts\n[default]\naws_access_key_id = AKIDONE\naws_secret_access_key=one\n\n\
        [ study ]\n; of the institute\naws_access_key_id=AKIDTWO\naws_secret_access_key = two=2\naws_session_token = t\n\
        [role]\nrole_arn = arn:aws:iam::1:role/x\nsource_profile = default\n";

    #[test]
    fn a_profile_is_found_by_its_name() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("credentials");
        std::fs::write(&path, FILE).unwrap();
        let file = path.to_string_lossy().into_owned();
        let with = |profile: Option<&'static str>| {
            let file = file.clone();
            move |name: &str| match name {
                FILE_ENV => Some(file.clone()),
                NAME_ENV => profile.map(str::to_owned),
                _ => None,
            }
        };
        let key = |found: Result<Option<Profile>, String>| {
            let profile = found.unwrap().unwrap();
            profile.access.zip(profile.secret).map(|(access, secret)| {
                (access.expose_secret().to_owned(), secret.expose_secret().to_owned(), profile.token.is_some())
            })
        };
        let (one, two) = (("AKIDONE", "one", false), ("AKIDTWO", "two=2", true));
        let owned = |(access, secret, token): (&str, &str, bool)| Some((access.to_owned(), secret.to_owned(), token));
        assert_eq!(key(find(None, with(None))), owned(one));
        assert_eq!(key(find(Some("study"), with(None))), owned(two));
        assert_eq!(key(find(None, with(Some("study")))), owned(two));
        assert_eq!(find(Some("role"), with(None)).unwrap().unwrap().elsewhere, Some("role_arn"));
        assert!(find(Some("none"), with(None)).err().unwrap().contains("no profile `none`"));
        assert!(find(None, |_| None).unwrap().is_none());
        let nowhere = |name: &str| (name == "HOME").then(|| "/nowhere".to_owned());
        assert!(find(None, nowhere).unwrap().is_none());
        assert!(find(Some("x"), nowhere).err().unwrap().contains("/nowhere/.aws/credentials"));
    }
}
