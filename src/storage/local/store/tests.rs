//! Blobs on a real file system: modes, planted links, two servers on one directory.

use super::*;

fn access() -> Access {
    Access { group: None, file_mode: 0o640, directory_mode: 0o750 }
}

fn path(store: &LocalStore, id: TicketId) -> PathBuf {
    let Location::Path(path) = store.location(id) else { panic!("a file") };
    path
}

#[test]
fn conforms() {
    let directory = tempfile::tempdir().unwrap();
    crate::storage::local::files::conformance::check(
        &LocalStore::open(directory.path(), access()).unwrap(),
    );
}

#[test]
fn published_files_get_the_mode_and_links_are_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(directory.path(), access()).unwrap();
    let id = TicketId::from_random([3; 16]);
    store.publish(id, 0).unwrap();
    let mode = std::fs::metadata(path(&store, id)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640);
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let linked = TicketId::from_random([4; 16]);
    std::os::unix::fs::symlink(&victim, store.part(linked)).unwrap();
    assert!(store.create(linked).is_err());
    assert!(LocalStore::open(directory.path(), access()).is_err(), "two servers, one directory");
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn who_only_looks_changes_nothing_and_locks_nobody_out() {
    let directory = tempfile::tempdir().unwrap();
    assert!(LocalStore::look(directory.path()).is_err(), "no storage directory");
    assert!(LocalStore::look(&directory.path().join("absent")).is_err());
    assert_eq!(std::fs::read_dir(&directory).unwrap().count(), 0);
    let store = LocalStore::open(directory.path(), access()).unwrap();
    let (done, open) = (TicketId::from_random([5; 16]), TicketId::from_random([6; 16]));
    store.publish(done, 0).unwrap();
    store.create(open).unwrap();
    let look = LocalStore::look(directory.path()).unwrap();
    assert_eq!((look.files().unwrap(), look.parts().unwrap()), (vec![done], vec![open]));
    assert_eq!(look.open(open).unwrap().unwrap().length().unwrap(), 0);
    let part = look.open(open).unwrap().unwrap();
    assert!(part.write_at(&[Bytes::from_static(b"x")], 0).is_err());
    let new = TicketId::from_random([7; 16]);
    assert!(look.create(new).is_err() && look.publish(open, 0).is_err());
    assert!(look.discard(open).is_err() && look.withdraw(done).is_err());
    assert_eq!(look.parts().unwrap(), [open]);
    drop(store);
    LocalStore::open(directory.path(), access()).expect("it is not locked by who looks");
}

fn outside(directory: &tempfile::TempDir) -> PathBuf {
    let outside = directory.path().join("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::set_permissions(&outside, Permissions::from_mode(0o755)).unwrap();
    outside
}

fn is_untouched(outside: &Path) {
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
    let mode = std::fs::metadata(outside).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
}

#[test]
fn a_link_is_no_folder_of_published_files() {
    let directory = tempfile::tempdir().unwrap();
    let (outside, data) = (outside(&directory), directory.path().join("data"));
    DirBuilder::new().mode(0o700).create(&data).unwrap();
    std::os::unix::fs::symlink(&outside, data.join(FILES)).unwrap();
    let error = LocalStore::open(&data, access()).err().unwrap().to_string();
    assert!(error.contains("not a symbolic link"), "{error}");
    is_untouched(&outside);
}

#[test]
fn a_link_in_place_of_the_folder_leads_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let (outside, data) = (outside(&directory), directory.path().join("data"));
    let store = LocalStore::open(&data, access()).unwrap();
    let [published, part] = [3, 4].map(|n| TicketId::from_random([n; 16]));
    store.publish(published, 0).unwrap();
    store.create(part).unwrap();
    std::fs::rename(data.join(FILES), data.join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(&outside, data.join(FILES)).unwrap();
    assert!(store.publish(part, 0).is_err());
    assert!(store.published(published).is_err());
    assert!(store.read(published, 0).is_err());
    assert!(store.withdraw(published).is_err());
    is_untouched(&outside);
    assert!(data.join("elsewhere").join(published.to_string()).exists());
}

#[test]
fn links_in_the_folder_of_published_files_are_replaced_never_followed() {
    let directory = tempfile::tempdir().unwrap();
    let store = LocalStore::open(&directory.path().join("data"), access()).unwrap();
    let victim = directory.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    let id = TicketId::from_random([3; 16]);
    std::os::unix::fs::symlink(&victim, path(&store, id)).unwrap();
    assert_eq!(store.published(id).unwrap(), None);
    assert!(store.read(id, 0).is_err());
    store.create(id).unwrap().write_at(&[Bytes::from_static(b"ours")], 0).unwrap();
    store.publish(id, 4).unwrap();
    assert_eq!(std::fs::read(path(&store, id)).unwrap(), b"ours");
    std::fs::remove_file(path(&store, id)).unwrap();
    std::os::unix::fs::symlink(&victim, path(&store, id)).unwrap();
    store.withdraw(id).unwrap();
    assert!(std::fs::symlink_metadata(path(&store, id)).is_err(), "the link itself goes");
    std::os::unix::fs::symlink(&victim, store.part(id)).unwrap();
    assert!(store.create(id).is_err() && store.open(id).is_err());
    assert!(store.publish(id, 0).is_err());
    store.discard(id).unwrap();
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
}

#[test]
fn a_directory_of_everybody_is_no_place() {
    let directory = tempfile::tempdir().unwrap();
    let check = |mode: u32, fits: bool| {
        std::fs::set_permissions(directory.path(), Permissions::from_mode(mode)).unwrap();
        let opened = LocalStore::open(directory.path(), access());
        assert_eq!(opened.is_ok(), fits, "{mode:o}");
    };
    check(0o777, false);
    check(0o1777, false);
    check(0o703, false);
    check(0o700, true);
    check(0o755, true);
}

#[test]
fn opening_again_touches_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let id = TicketId::from_random([3; 16]);
    let store = LocalStore::open(directory.path(), access()).unwrap();
    store.create(id).unwrap().write_at(&[Bytes::from_static(b"kept")], 0).unwrap();
    drop(store);
    let store = LocalStore::open(directory.path(), access()).unwrap();
    assert_eq!(store.parts().unwrap(), [id]);
    store.publish(id, 4).unwrap();
    assert_eq!(std::fs::read(path(&store, id)).unwrap(), b"kept");
}

#[test]
fn a_directory_that_is_not_in_its_place_is_not_empty() {
    let place = tempfile::tempdir().unwrap();
    let (here, away) = (place.path().join("here"), place.path().join("away"));
    let store = LocalStore::open(&here, access()).unwrap();
    let id = TicketId::from_random([3; 16]);
    let blob = store.create(id).unwrap();
    store.writable().unwrap();
    std::fs::rename(&here, &away).unwrap();
    assert!(store.writable().is_err() && store.open(id).is_err());
    assert!(store.published(id).is_err(), "nobody can say that the backend has moved it away");
    blob.sync().unwrap();
    std::fs::remove_dir_all(&away).unwrap();
    assert!(blob.sync().is_err(), "what was removed is not kept");
}
