use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn accounts() -> (tempfile::TempDir, Accounts) {
    let dir = tempfile::tempdir().unwrap();
    let db = Db::open(&dir.path().join("haversack.db")).unwrap();
    let accounts = Accounts::new(db, &Config::default());
    (dir, accounts)
}

#[test]
fn the_right_password_logs_in_and_a_wrong_one_does_not() {
    let (_dir, accounts) = accounts();
    accounts.add("Ada", "countess", true, NOW).unwrap();
    let login = |name, password| accounts.login(name, password, "127.0.0.1").unwrap();
    let ada = login("ada", "countess").unwrap();
    assert_eq!((ada.name.as_str(), ada.is_admin), ("Ada", true));
    assert_eq!(login("ada", "Countess"), None);
    assert_eq!(login("eve", "countess"), None);
    let again = login("ADA", "countess").unwrap();
    assert_eq!(again.name, "Ada", "the cached login names the account too");
}

#[test]
fn a_changed_password_ends_tokens_and_cached_credentials() {
    let (_dir, accounts) = accounts();
    accounts.add("ada", "countess", false, NOW).unwrap();
    let ada = accounts
        .login("ada", "countess", "127.0.0.1")
        .unwrap()
        .unwrap();
    let token = accounts
        .issue_token(&ada, NOW, 60_000, &Binding::None)
        .unwrap();
    assert_eq!(
        accounts
            .verify_token(&token.text, Origin::default(), NOW)
            .unwrap(),
        Some(ada.clone())
    );
    assert_eq!(
        accounts
            .verify_token(&token.text, Origin::default(), Timestamp(NOW.0 + 60_000))
            .unwrap(),
        None,
        "it expires"
    );
    accounts.set_password("ada", "lovelace").unwrap();
    assert_eq!(
        accounts
            .verify_token(&token.text, Origin::default(), NOW)
            .unwrap(),
        None
    );
    assert_eq!(
        accounts.login("ada", "countess", "127.0.0.1").unwrap(),
        None
    );
}

#[test]
fn a_bound_token_counts_only_where_it_may_and_never_without_its_binding() {
    let (_dir, accounts) = accounts();
    accounts.add("ada", "countess", false, NOW).unwrap();
    let ada = Principal {
        name: "ada".to_owned(),
        is_admin: false,
    };
    let binding = Binding::Referer("https://maps.example/app".to_owned());
    let token = accounts.issue_token(&ada, NOW, 60_000, &binding).unwrap();
    let verified = |text: &str, referer| {
        let origin = Origin {
            referer: Some(referer),
            address: "127.0.0.1",
        };
        accounts.verify_token(text, origin, NOW).unwrap()
    };
    assert!(verified(&token.text, "https://maps.example/other").is_some());
    assert!(verified(&token.text, "https://evil.example/").is_none());
    let (secret, _) = token.text.split_once('.').unwrap();
    assert!(verified(secret, "https://evil.example/").is_none());
    let bound_anew = secret.to_owned() + &Binding::Referer("evil.example".to_owned()).suffix();
    assert!(verified(&bound_anew, "https://evil.example/").is_none());
}

#[test]
fn a_revoked_token_is_unknown() {
    let (_dir, accounts) = accounts();
    accounts.add("ada", "countess", false, NOW).unwrap();
    let ada = Principal {
        name: "ada".to_owned(),
        is_admin: false,
    };
    let token = accounts
        .issue_token(&ada, NOW, 60_000, &Binding::None)
        .unwrap();
    accounts.revoke_token(&token.text).unwrap();
    assert_eq!(
        accounts
            .verify_token(&token.text, Origin::default(), NOW)
            .unwrap(),
        None
    );
}

#[test]
fn the_last_administrator_stays() {
    let (_dir, accounts) = accounts();
    accounts.add("ada", "countess", true, NOW).unwrap();
    accounts.add("bob", "builder", false, NOW).unwrap();
    assert!(accounts.remove("ada").is_err());
    accounts.remove("bob").unwrap();
    assert!(matches!(accounts.remove("bob"), Err(Error::Missing { .. })));
    assert_eq!(accounts.list().unwrap().len(), 1);
}

#[test]
fn names_and_passwords_that_do_not_do_are_refused_with_the_reason() {
    let (_dir, accounts) = accounts();
    for (name, password) in [
        ("", "longenough"),
        ("a b", "longenough"),
        (OPERATOR, "longenough"),
        ("ada", "short"),
    ] {
        let refused = accounts.add(name, password, false, NOW);
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{name:?}");
    }
    accounts.add("ada", "countess", false, NOW).unwrap();
    assert!(matches!(
        accounts.add("ADA", "countess", false, NOW),
        Err(Error::Exists { .. })
    ));
}

#[test]
fn strangers_who_guess_are_made_to_wait_even_with_the_right_password() {
    let (_dir, accounts) = accounts();
    accounts.add("ada", "countess", false, NOW).unwrap();
    for _ in 0..=Config::default().login_attempts {
        let now = Instant::now();
        accounts.attempts.count_failure("ada", "203.0.113.7", now);
    }
    assert!(matches!(
        accounts.login("ada", "countess", "203.0.113.7"),
        Err(LoginError::TooManyAttempts { .. })
    ));
    assert!(
        accounts
            .login("ada", "countess", "127.0.0.1")
            .unwrap()
            .is_some()
    );
}
