//! Every command of the page on policies is run as it stands there, in a folder as the page describes it, beside a gateway that the page
//! starts.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

const PAGE: &str = include_str!("../../docs/policies/README.md");

/// A gateway; dropping this ends it.
struct Serving(Child);

impl Serving {
    /// Has it end by itself, so that it writes what it kept.
    fn stop(mut self) {
        let told = Command::new("kill").arg(self.0.id().to_string()).status().expect("kill runs");
        assert!(told.success() && self.0.wait().expect("it ends").success());
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn copied(from: &str, to: &Path) {
    std::fs::create_dir(to).expect("a folder");
    for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(from)).expect("the folder").flatten() {
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("copied");
    }
}

/// A line of shell, with `witgate` on its path.
fn shell(folder: &Path, line: &str) -> Command {
    let witgate = Path::new(env!("CARGO_BIN_EXE_witgate")).parent().expect("a folder").to_path_buf();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([witgate].into_iter().chain(std::env::split_paths(&path))).expect("a path");
    let mut command = Command::new("sh");
    command
        .args(["-ec", line])
        .current_dir(folder)
        .env("PATH", path)
        .env("XDG_CACHE_HOME", env!("CARGO_TARGET_TMPDIR"));
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn has_curl() -> bool {
    Command::new("curl").arg("--version").output().is_ok_and(|output| output.status.success())
}

#[test]
fn every_command_of_the_page_runs_as_it_stands() {
    if !has_curl() {
        // Nothing that is asked with it can be explained or repeated.
        return;
    }
    let (_, part) = PAGE.split_once("## All commands").expect("the part");
    let block = |fence: &str| -> Vec<&str> {
        let fence = format!("```{fence}\n");
        let blocks = part.split(fence.as_str()).skip(1).filter_map(|rest| rest.split("```").next());
        blocks.flat_map(str::lines).collect()
    };
    let place = TempDir::new().expect("a folder");
    let folder = place.path();
    copied("policies", &folder.join("policies"));
    copied("scenarios", &folder.join("scenarios"));
    std::fs::write(folder.join("config.yaml"), block("yaml").join("\n")).expect("written");
    let request = part.split("`request.json` (`").nth(1).and_then(|rest| rest.split("`)").next()).expect("a request");
    std::fs::write(folder.join("request.json"), request).expect("written");
    let (mut serving, mut address, mut id) = (None, String::new(), String::new());
    let mut ran = Vec::new();
    for line in block("sh") {
        let words: Vec<&str> = line.split_whitespace().take(3).collect();
        if words[..2] == ["witgate", "serve"] {
            let mut command = shell(folder, &format!("exec {line} --port 0 --log error"));
            let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("it starts");
            let mut first = String::new();
            BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut first).expect("a line");
            address = first.trim().rsplit("//").next().expect("an address").to_owned();
            serving = Some(Serving(child));
            ran.push("serve");
            continue;
        }
        if words == ["witgate", "explain", "REQUEST_ID"] {
            serving.take().expect("a gateway").stop();
        }
        let beside = matches!(words[..], ["witgate", "route" | "policies", ..]);
        let url = if beside { format!(" --url http://{address}") } else { String::new() };
        let line = line.replace("127.0.0.1:4000", &address).replace("REQUEST_ID", &id) + &url;
        let output = shell(folder, &line).output().expect("sh runs");
        let told = text(&output);
        // Another policy decides otherwise, which is what is asked there.
        let differs = line.contains("replay") && line.contains("--policy");
        assert!(output.status.success() || (differs && output.status.code() == Some(1)), "{line}: {told}");
        if line.starts_with("curl -si") {
            assert!(told.contains("200 OK") && told.contains("x-witgate-policy: tpm-aware@"), "{told}");
            let header = told.lines().find_map(|line| line.strip_prefix("x-request-id: ")).expect("an id");
            header.trim().clone_into(&mut id);
        } else if line.starts_with("curl") {
            assert!(told.contains("\"cheap\""), "{told}");
        } else if words[1] == "explain" || words[1] == "route" {
            assert!(told.contains("cheap"), "{told}");
        }
        ran.push(words[1]);
    }
    for command in ["policy", "check", "serve", "route", "policies", "explain"] {
        assert!(ran.contains(&command), "{command} is not shown");
    }
    assert!(std::fs::read_to_string(folder.join("results.xml")).expect("JUnit's").contains("<testsuite"));
}
