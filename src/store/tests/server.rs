//! Against a real Postgres server, started by each test; where none is installed they say so and check nothing.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

use secrecy::ExposeSecret as _;

use super::*;

/// How long is waited for a server to answer, or for what it is to be told.
const PATIENCE: Duration = Duration::from_secs(60);

/// Until it holds; fails where that takes too long.
#[expect(clippy::disallowed_methods, reason = "a server of its own runs in real time")]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}

/// Whom the server runs as where the tests are root's: it refuses to be root.
const NOBODY: u32 = 65_534;

struct Server {
    programs: PathBuf,
    folder: tempfile::TempDir,
    port: u16,
    child: Option<Child>,
}

impl Server {
    fn start() -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!("SKIPPED: no Postgres server is installed; the ledger in Postgres is not tested here");
            return None;
        };
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = tempfile::Builder::new().prefix("witgate-postgres-").tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(folder.path(), Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let mut server = Self { programs, folder, port, child: None };
        let initialize = |more: &[&str]| {
            let mut made = server.command("initdb");
            made.args(["-A", "trust", "-U", "witgate", "-E", "UTF8", "--no-sync", "-D"]).arg(server.data()).args(more);
            made.output().unwrap()
        };
        // Where the server can, one whose language has an order of its own; older ones cannot.
        let mut made = initialize(&["--locale-provider=icu", "--icu-locale=en-US"]);
        if !made.status.success() {
            made = initialize(&[]);
        }
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        server.begin();
        Some(server)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.current_dir(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::piped()).env("LC_ALL", "C");
        if rustix::process::geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn begin(&mut self) {
        let mut server = self.command("postgres");
        server.args(["-p", &self.port.to_string(), "-c", "fsync=off", "-c", "listen_addresses=127.0.0.1"]);
        server.args(["-c", "unix_socket_directories="]).arg("-D").arg(self.data()).stderr(Stdio::null());
        self.child = Some(server.spawn().unwrap());
        let url = self.url();
        until("the server answers", || {
            let Err(why) = Postgres::open(&url) else { return true };
            let running = self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_none());
            assert!(running, "the server has ended: {why}");
            false
        });
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // At once, whoever is connected.
            let stopped =
                self.command("pg_ctl").args(["stop", "-m", "immediate", "-D"]).arg(self.data()).output().unwrap();
            assert!(stopped.status.success(), "{}", String::from_utf8_lossy(&stopped.stderr));
            child.wait().unwrap();
        }
    }

    fn url(&self) -> SecretString {
        format!("postgres://witgate:unused@127.0.0.1:{}/postgres", self.port).into()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Where the server's programs are: Debian keeps them out of the path.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debian = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let debian = debian.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let all: Vec<PathBuf> = debian.chain(std::env::split_paths(&path)).collect();
    all.into_iter().find(|folder| ["initdb", "postgres", "pg_ctl"].iter().all(|program| folder.join(program).exists()))
}

#[test]
fn a_server_keeps_and_tells_what_a_file_does() {
    let Some(mut server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let places = [Place::File(folder.path().join("ledger.db")), Place::Server(server.url())];
    for place in &places {
        // Twice: what is there already is not counted again.
        for _ in 0..2 {
            let ledger = place.write().unwrap();
            for number in 0..60 {
                let mut one = record(number, if number % 4 == 0 { "a" } else { "b" }, Some(1_000 + number));
                one.charged = NanoUsd(2_000 + number);
                one.tags.push("with\0nothing".to_owned());
                ledger.keep(one);
            }
            // One order of letters is that of a language, the other that of bytes.
            for (number, group) in (500..).zip(["c", "D", "e", "F", "é", "_"]) {
                ledger.keep(record(number, group, None));
            }
            ledger.finish();
            assert_eq!(ledger.lost(), 0);
        }
    }
    let [file, kept] = places.each_ref().map(|place| place.read().unwrap());
    for by in [By::Key, By::Team, By::Model, By::Day, By::Deployment, By::Provider] {
        let sums = kept.spend(by, &Period::default());
        assert_eq!(sums, file.spend(by, &Period::default()), "{by:?}");
        assert_eq!(sums.unwrap().iter().map(|line| line.requests).sum::<u64>(), 66, "{by:?}");
    }
    let tags = kept.spend(By::Tag, &Period::default()).unwrap();
    assert!(tags.iter().any(|line| line.name == "withnothing" && line.requests == 60), "{tags:?}");
    let [of_file, of_server] = [&file, &kept].map(|reader| {
        let mut requests = reader.requests(&Wanted::default(), &Period::default(), 7).unwrap();
        for tag in requests.iter_mut().flat_map(|one| &mut one.tags) {
            *tag = tag.replace('\0', "");
        }
        requests
    });
    assert_eq!(of_server, of_file);
    let id = kept.requests(&Wanted::default(), &Period::default(), 1).unwrap().remove(0).id;
    assert_eq!(kept.requests(&of_id(&id), &Period::default(), 9).unwrap().len(), 1);
    let first = kept.arrived(&Period::default(), None, 7).unwrap();
    let after = first.last().map(|last| (last.arrived_ms, last.id.clone()));
    assert_eq!(
        (first.len(), &*first[1].tags, first[1].model_group.as_str()),
        (7, &["b", "study", "withnothing"].map(str::to_owned)[..], "b")
    );
    for after in [None, after] {
        let [of_file, of_server] =
            [&file, &kept].map(|reader| reader.arrived(&Period::default(), after.as_ref(), 200).unwrap());
        let clean = |tags: &[String]| tags.iter().map(|tag| tag.replace('\0', "")).collect::<Vec<_>>();
        let of_file = of_file.into_iter().map(|arrived| Arrived { tags: clean(&arrived.tags), ..arrived });
        assert_eq!(of_server, of_file.collect::<Vec<_>>());
    }
    let wrong = Period { since: Some("yesterday".to_owned()), until: None };
    assert!(kept.spend(By::Key, &wrong).unwrap_err().contains("YYYY-MM-DD"));
    let ledgers = places.each_ref().map(|place| place.write().unwrap());
    let from = |number: u64| Moment::from_millis(NOON + number);
    for scope in scopes() {
        for span in [[from(30), from(55)], [Moment::default(), from(10_000)], [from(10_000), from(10_001)]] {
            let [of_file, of_server] = ledgers.each_ref().map(|ledger| ledger.spent(&scope, span, &[]).unwrap());
            assert_eq!(of_server, of_file, "{scope:?} {span:?}");
        }
        let all = ledgers[1].spent(&scope, [Moment::default(), from(10_000)], &[]).unwrap();
        assert_eq!(all > NanoUsd::default(), scope != Scope::Team("none".into()), "{scope:?}");
    }
    server.kill();
    let gone = kept.spend(By::Key, &Period::default()).unwrap_err();
    assert!(gone.contains("127.0.0.1") && !gone.contains("unused"), "the password is not told: {gone}");
}

#[test]
fn requests_are_found_by_their_keys_on_a_server_too() {
    let Some(server) = Server::start() else { return };
    requests_of_keys(&Place::Server(server.url()));
}

#[test]
fn a_judgement_finds_its_request_and_is_kept_once_in_either() {
    let Some(server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    for place in [Place::File(folder.path().join("ledger.db")), Place::Server(server.url())] {
        judgements(&place.write().unwrap());
    }
}

#[test]
fn what_a_lost_server_was_not_told_it_is_told_when_it_is_back() {
    let Some(mut server) = Server::start() else { return };
    let place = Place::Server(server.url());
    let ledger = place.write().unwrap();
    ledger.keep(record(0, "a", Some(1)));
    let reader = ledger.reader().unwrap();
    let requests = |reader: &Reader| reader.requests(&Wanted::default(), &Period::default(), 1000).map(|all| all.len());
    until("the first is written", || requests(&reader) == Ok(1));
    server.kill();
    for number in 1..200 {
        ledger.keep(record(number, "a", Some(1)));
    }
    assert!(requests(&reader).is_err());
    server.begin();
    until("all are written", || requests(&reader) == Ok(200));
    ledger.finish();
    assert_eq!(ledger.lost(), 0);
}

#[test]
fn what_a_stop_cannot_tell_a_server_that_is_away_it_is_told_at_the_next_start() {
    let Some(mut server) = Server::start() else { return };
    let folder = tempfile::tempdir().unwrap();
    let ledger = Ledger::connect_beside(&server.url(), false, Some(folder.path())).unwrap();
    ledger.keep(record(0, "a", Some(1)));
    ledger.wait_until_written().unwrap();
    server.kill();
    for number in 0..20 {
        let mut one = record(number, "a", Some(1));
        one.tags.push("with\0nothing".to_owned());
        ledger.keep(one);
    }
    ledger.hurry();
    ledger.finish();
    let aside = aside::within(folder.path());
    assert!(aside.exists());
    server.begin();
    let ledger = Ledger::connect_beside(&server.url(), false, Some(folder.path())).unwrap();
    until("it is told", || !aside.exists());
    ledger.finish();
    let reader = Place::Server(server.url()).read().unwrap();
    for by in [By::Key, By::Deployment] {
        let sums = reader.spend(by, &Period::default()).unwrap();
        assert_eq!(
            sums.iter().map(|line| (line.requests, line.cost_nano_usd)).collect::<Vec<_>>(),
            [(20, NanoUsd(20))]
        );
    }
    let tags = reader.spend(By::Tag, &Period::default()).unwrap();
    assert!(tags.iter().any(|line| line.name == "withnothing" && line.requests == 20), "{tags:?}");
}

#[test]
fn a_renewed_key_s_spend_is_one_on_a_server_too() {
    let Some(server) = Server::start() else { return };
    renewed::spend_of_renewed_keys(&Place::Server(server.url()));
}

#[test]
fn a_server_s_rows_are_changed_as_they_were_read_or_not_at_all() {
    let Some(server) = Server::start() else { return };
    let [one, other] = [(), ()].map(|()| Ledger::connect(&server.url()).unwrap());
    changes::as_they_were_read(&one, &other);
    let asked = Postgres::open(&server.url()).unwrap();
    changes::rows_that_cannot_be_read(&one, |text| {
        let text = text.to_owned();
        asked.run(move |client| client.batch_execute(&text)).unwrap();
    });
}

#[test]
fn of_gateways_that_change_one_key_at_once_one_does_so_at_a_time() {
    let Some(server) = Server::start() else { return };
    let ledgers: Vec<Ledger> = (0..4).map(|_| Ledger::connect(&server.url()).unwrap()).collect();
    for round in 0..20 {
        changes::at_once(&ledgers, round);
    }
}

#[test]
fn a_change_that_fails_is_taken_back_and_what_is_quick_is_bounded() {
    let Some(server) = Server::start() else { return };
    let ledger = Ledger::connect(&server.url()).unwrap();
    let key = VirtualKey::new(KeyHash::of("one"), String::new(), Moment::from_millis(NOON));
    ledger.keys().put(None, &key).unwrap();
    // A statement that fails takes back what came before it.
    let asked = Postgres::open(&server.url()).unwrap();
    let failed = asked.change(|transaction| {
        transaction.execute("DELETE FROM keys", &[])?;
        transaction.execute("SELECT nothing", &[]).map(drop)
    });
    assert!(failed.is_err());
    assert_eq!(ledger.keys().load().unwrap().read.len(), 1);
    let [short, long] = [
        asked.run(|client| client.query_one("SHOW lock_timeout", &[])?.try_get::<_, String>(0)),
        asked.run_long(|client| client.query_one("SHOW statement_timeout", &[])?.try_get::<_, String>(0)),
    ];
    assert_eq!((short.as_deref(), long.as_deref()), (Ok("10s"), Ok("0")));
}

#[test]
fn workers_that_begin_a_run_together_wait_for_the_first_as_long_as_it_takes() {
    let Some(server) = Server::start() else { return };
    let items = SharedItems::open(&server.url(), "run".to_owned(), "one".to_owned(), Duration::from_secs(60)).unwrap();
    let asked = Postgres::open(&server.url()).unwrap();
    // Whoever writes the run says how long it waits for locks.
    let watched = "CREATE FUNCTION watched() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF current_setting('lock_timeout') <> '0' THEN
                 RAISE EXCEPTION 'it waits for %', current_setting('lock_timeout');
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER watched BEFORE INSERT ON runs FOR EACH ROW EXECUTE PROCEDURE watched()";
    asked.run(move |client| client.batch_execute(watched)).unwrap();
    assert_eq!(items.begin(&[("name", "x")], std::iter::once(("a", "m"))), Ok(()));
    // Everything else waits as long as before.
    assert!(items.set_about("other", "x").unwrap_err().contains("10s"));
}

#[test]
fn keys_are_kept_there_and_a_wrong_url_says_what_is_wrong() {
    let Some(server) = Server::start() else { return };
    let ledger = Ledger::connect(&server.url()).unwrap();
    let key = VirtualKey::new(KeyHash::of("one"), String::new(), Moment::from_millis(NOON));
    ledger.keys().put(None, &key).unwrap();
    ledger.keys().put(None, &key).unwrap();
    let other = Ledger::connect(&server.url()).unwrap();
    assert_eq!(other.keys().load().unwrap().read.as_slice(), std::slice::from_ref(&key));
    other.keys().delete(&[key]).unwrap();
    assert!(ledger.keys().load().unwrap().read.is_empty());
    teams_and_renewed_keys(&ledger);
    let refused = |url: &str| {
        let wrong = Ledger::connect(&SecretString::from(url)).unwrap_err();
        assert!(wrong.contains("database_url") && !wrong.contains("secret"), "{wrong}");
        wrong
    };
    refused("postgres://u:secret@127.0.0.1:notaport/x");
    refused("postgres://u:secret@127.0.0.1/x?sslmode=nonsense");
    let gone = Ledger::connect(&SecretString::from("postgres://u:secret@127.0.0.1:1/x")).unwrap_err();
    assert!(gone.contains("127.0.0.1") && !gone.contains("secret"), "{gone}");
    let later = Ledger::connect_later(&SecretString::from("postgres://u:secret@127.0.0.1:1/x")).unwrap();
    assert!(later.keys().load().is_err(), "it is asked then, and not before");
}

fn pem(what: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", lines.join("\n"))
}

#[test]
fn an_encrypted_line_is_one_to_the_server_that_is_meant() {
    let Some(mut server) = Server::start() else { return };
    // A server that has no certificate is not asked in plain words.
    let encrypted = |server: &Server, more: &str| {
        let url = server.url();
        SecretString::from(format!("{}?sslmode=require{more}", url.expose_secret()))
    };
    assert!(Postgres::open(&encrypted(&server, "")).is_err());
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (server.data().join("server.crt"), server.data().join("server.key"));
    std::fs::write(&certificate, pem("CERTIFICATE", made.cert.der())).unwrap();
    std::fs::write(&key, pem("PRIVATE KEY", made.signing_key.serialized_der())).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    if rustix::process::geteuid().is_root() {
        chown(&key, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    server.kill();
    std::fs::write(server.data().join("postgresql.auto.conf"), "ssl = on\n").unwrap();
    server.begin();
    let Err(stranger) = Postgres::open(&encrypted(&server, "")) else { panic!("nobody here trusts it") };
    assert!(stranger.contains("certificate"), "{stranger}");
    let named = encrypted(&server, &format!("&sslrootcert={}", certificate.display()));
    let known = Postgres::open(&named).unwrap();
    let is_encrypted = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
    assert_eq!(known.run(|client| client.query_one(is_encrypted, &[])?.try_get(0)), Ok(true));
    Ledger::connect(&named).unwrap().keys().load().unwrap();
}

#[test]
fn what_a_call_of_a_shared_run_cost_counts_once_however_often_it_is_told() {
    let Some(server) = Server::start() else { return };
    let open = |worker: &str| {
        SharedItems::open(&server.url(), "run".to_owned(), worker.to_owned(), Duration::from_secs(60)).unwrap()
    };
    let (one, other) = (open("one"), open("other"));
    let items = (0..150).map(|number| format!("{:03}", 149 - number)).collect::<Vec<_>>();
    one.begin(&[("name", "x")], items.iter().map(|id| (id.as_str(), "m"))).unwrap();
    assert_eq!(one.take("m", 2).unwrap(), items[..2]);
    let answered = |id: &'static str, answer: &str| [(id, ItemState::Answered, answer.to_owned())];
    // The answer to the first commit was lost, and so it is told again.
    for _ in 0..2 {
        one.ended(&answered("149", "1"), &Paid { call: "call", cost: NanoUsd(5) }, 0).unwrap();
    }
    // Another's call is another call, and its answer is too late.
    other.ended(&answered("149", "2"), &Paid { call: "call", cost: NanoUsd(7) }, 0).unwrap();
    assert_eq!((one.paid(), other.paid()), (Ok(NanoUsd(12)), Ok(NanoUsd(12))));
    let mut read = Vec::new();
    let mut keep = |item: KeptItem| {
        read.push((item.id, item.outcome));
        Ok(())
    };
    one.each(&mut keep).unwrap();
    assert_eq!(read.iter().map(|(id, _)| id.clone()).collect::<Vec<_>>(), items);
    assert_eq!(read[0].1.as_deref(), Some("1"));
    one.renew(&items[1..2]).unwrap();
    other.renew(&[]).unwrap();
    other.release().unwrap();
    let runs = shared_runs(&server.url(), Some("run")).unwrap();
    let [run] = &runs[..] else { panic!("{runs:?}") };
    assert_eq!((run.name.as_str(), run.items, run.answered, run.paid), ("x", 150, 1, NanoUsd(12)));
    let workers: Vec<_> = run.workers.iter().map(|worker| (worker.name.as_str(), worker.gone, worker.holds)).collect();
    assert_eq!(workers, [("one", false, 1), ("other", true, 0)]);
    assert_eq!(shared_runs(&server.url(), Some("none")), Ok(Vec::new()));
}
