//! Volumes over HTTP: Docker's shapes, filters, refusals.

use crate::client::text;
use crate::fixture::Fixture;
use expect_test::expect;

#[tokio::test]
async fn from_making_to_removal() {
    let fixture = Fixture::inactive();
    let mut answers = String::new();
    for (line, body) in [
        ("GET /volumes", ""),
        ("POST /volumes/create", r#"{"Name":"data","Labels":{"tier":"back"},"DriverOpts":{"type":"tmpfs","device":"tmpfs"}}"#),
        ("POST /volumes/create", r#"{"Name":"held"}"#),
        ("GET /volumes/data", ""),
        ("GET /volumes?filters={\"label\":[\"tier=back\"]}", ""),
        ("GET /volumes?filters={\"dangling\":[\"false\"]}", ""),
        ("GET /volumes?filters={\"driver\":[\"nfs\"]}", ""),
        ("DELETE /volumes/held?force=1", ""),
        ("DELETE /volumes/data", ""),
        ("DELETE /volumes/data", ""),
        ("DELETE /volumes/data?force=1", ""),
    ] {
        answers.push_str(text(&fixture, line, body).await.trim_end());
        answers.push('\n');
    }
    expect![[r#"
        200 {"Volumes":[],"Warnings":[]}
        201 {"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Labels":{"tier":"back"},"Mountpoint":"/volumes/data/_data","Name":"data","Options":{"device":"tmpfs","type":"tmpfs"},"Scope":"local"}
        201 {"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Labels":null,"Mountpoint":"/volumes/held/_data","Name":"held","Options":null,"Scope":"local"}
        200 {"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Labels":{"tier":"back"},"Mountpoint":"/volumes/data/_data","Name":"data","Options":{"device":"tmpfs","type":"tmpfs"},"Scope":"local"}
        200 {"Volumes":[{"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Labels":{"tier":"back"},"Mountpoint":"/volumes/data/_data","Name":"data","Options":{"device":"tmpfs","type":"tmpfs"},"Scope":"local"}],"Warnings":[]}
        200 {"Volumes":[{"CreatedAt":"2023-11-14T22:13:20Z","Driver":"local","Labels":null,"Mountpoint":"/volumes/held/_data","Name":"held","Options":null,"Scope":"local"}],"Warnings":[]}
        200 {"Volumes":[],"Warnings":[]}
        409 {"message":"remove held: volume is in use - [01010101010101010101010101010101fefefefefefefefefefefefefefefefe]"}
        204
        404 {"message":"get data: no such volume"}
        204
    "#]]
    .assert_eq(&answers);
}

#[tokio::test]
async fn a_prune_takes_what_nobody_named_and_all_on_demand() {
    let fixture = Fixture::inactive();
    for body in [
        r#"{"Name":"data","Labels":{"keep":""}}"#,
        r#"{"Name":"more"}"#,
        r#"{"Name":"held"}"#,
        r#"{"Name":"unnamed","Labels":{"com.docker.volume.anonymous":""}}"#,
    ] {
        assert!(text(&fixture, "POST /volumes/create", body).await.starts_with("201 "));
    }
    let mut answers = String::new();
    for line in [
        "POST /v1.42/volumes/prune",
        "POST /volumes/prune?filters={\"all\":[\"true\"],\"label!\":[\"keep\"]}",
        "POST /v1.41/volumes/prune",
        "POST /volumes/prune?filters={\"colour\":[\"red\"]}",
        "POST /volumes/prune?filters={\"all\":[\"perhaps\"]}",
    ] {
        answers.push_str(&text(&fixture, line, "").await);
    }
    expect![[r#"
        200 {"VolumesDeleted":["unnamed"],"SpaceReclaimed":1000}
        200 {"VolumesDeleted":["more"],"SpaceReclaimed":1000}
        200 {"VolumesDeleted":["data"],"SpaceReclaimed":1000}
        400 {"message":"invalid filter 'colour'"}
        400 {"message":"invalid filter 'all=perhaps'"}
    "#]]
    .assert_eq(&answers);
}

#[tokio::test]
async fn what_is_not_there_is_named() {
    let fixture = Fixture::inactive();
    let mut answers = String::new();
    for (line, body) in [
        ("GET /volumes/no", ""),
        ("PUT /volumes/no", "{}"),
        ("POST /volumes/create", r#"{"Name":"x","ClusterVolumeSpec":{}}"#),
        ("POST /volumes/create", r#"{"Name":5}"#),
        ("GET /volumes?filters={\"colour\":[\"red\"]}", ""),
        ("GET /volumes?filters={\"dangling\":[\"perhaps\"]}", ""),
    ] {
        answers.push_str(&text(&fixture, line, body).await);
    }
    expect![[r#"
        404 {"message":"get no: no such volume"}
        404 {"message":"get no: no such volume"}
        501 {"message":"ClusterVolumeSpec: not supported by this version of wsw; leave it out"}
        400 {"message":"invalid JSON: Name: invalid type: integer `5`, expected a string at line 1 column 9"}
        400 {"message":"invalid filter 'colour'"}
        400 {"message":"invalid filter 'dangling=perhaps'"}
    "#]]
    .assert_eq(&answers);
}
