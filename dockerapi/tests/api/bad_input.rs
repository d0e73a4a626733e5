//! Bad bodies and values: a clear refusal that names the field, nothing changed.

use crate::client::{send, service_body, text};
use crate::fixture::Fixture;
use axum::body::Body;
use expect_test::expect;

#[tokio::test]
async fn bodies_are_refused_with_the_field() {
    let fixture = Fixture::swarm();
    let mut answers = String::new();
    for body in [
        "",
        "{",
        "[]",
        r#"{"TaskTemplate":[]}"#,
        r#"{"EndpointSpec":"vip"}"#,
        r#"{"Name":5}"#,
        r#"{"Name":"a"} x"#,
        r#"{"Mode":{"Replicated":{"Replicas":-1}}}"#,
        r#"{"Mode":{"Replicated":{"Replicas":"three"}}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Env":["a",1]}}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a","StopGracePeriod":-1}}}"#,
        r#"{"TaskTemplate":{}}"#,
        r#"{"Name":"a"}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a"}},"Mode":{"Replicated":{},"Global":{}}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a"},"RestartPolicy":{"Condition":"always"}}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a"}},"UpdateConfig":{"MaxFailureRatio":2}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a"}},"RollbackConfig":{"FailureAction":"rollback"}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a"}},"EndpointSpec":{"Ports":[{"TargetPort":70000}]}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a"}},"EndpointSpec":{"Ports":[{"Protocol":"icmp"}]}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a","Mounts":[{"Type":"floppy","Source":"/a","Target":"/b"}]}}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a","Mounts":[{"Type":"bind","BindOptions":{"Propagation":"far"}}]}}}"#,
        r#"{"TaskTemplate":{"ContainerSpec":{"Image":"a","Mounts":[{"Type":"tmpfs","TmpfsOptions":{"SizeBytes":-1}}]}}}"#,
    ] {
        answers.push_str(&text(&fixture, "POST /services/create", body).await);
    }
    expect![[r#"
        400 {"message":"invalid JSON: got EOF while reading request body"}
        400 {"message":"invalid JSON: EOF while parsing an object at line 1 column 1"}
        400 {"message":"invalid JSON: invalid type: sequence, expected an object at line 1 column 0"}
        400 {"message":"invalid JSON: TaskTemplate: invalid type: sequence, expected an object at line 1 column 16"}
        400 {"message":"invalid JSON: EndpointSpec: invalid type: string \"vip\", expected an object at line 1 column 21"}
        400 {"message":"invalid JSON: Name: invalid type: integer `5`, expected a string at line 1 column 9"}
        400 {"message":"unexpected content after JSON"}
        400 {"message":"invalid JSON: Mode.Replicated.Replicas: invalid value: integer `-1`, expected u64 at line 1 column 36"}
        400 {"message":"invalid JSON: Mode.Replicated.Replicas: invalid type: string \"three\", expected u64 at line 1 column 41"}
        400 {"message":"invalid JSON: TaskTemplate.ContainerSpec.Env[1]: invalid type: integer `1`, expected a string at line 1 column 46"}
        400 {"message":"ContainerSpec.StopGracePeriod: must not be negative"}
        400 {"message":"TaskTemplate.ContainerSpec: must be provided"}
        400 {"message":"TaskTemplate: must be provided"}
        400 {"message":"Mode: must specify only one service mode"}
        400 {"message":"RestartPolicy.Condition: invalid value \"always\"; use none, on-failure or any"}
        400 {"message":"UpdateConfig.MaxFailureRatio: cannot be less than 0 or bigger than 1"}
        400 {"message":"RollbackConfig.FailureAction: unrecognized update failure action rollback"}
        400 {"message":"EndpointSpec.Ports.TargetPort: 70000 is not a port number (at most 65535)"}
        400 {"message":"EndpointSpec.Ports.Protocol: invalid value \"icmp\"; use tcp, udp or sctp"}
        400 {"message":"invalid MountType: \"floppy\""}
        400 {"message":"invalid MountPropagation: \"far\""}
        400 {"message":"ContainerSpec.Mounts.TmpfsOptions.SizeBytes: must not be negative"}
    "#]]
    .assert_eq(&answers);
    assert_eq!(fixture.store().services().count(), 0);
}

#[tokio::test]
async fn what_is_not_served_is_refused_by_its_name() {
    let fixture = Fixture::swarm();
    let mut answers = String::new();
    for (field, value) in [
        ("Mounts", r#"[{"Type":"npipe","Source":"a","Target":"/b"}]"#),
        ("Mounts", r#"[{"Type":"cluster","Source":"a","Target":"/b"}]"#),
        ("Mounts", r#"[{"Type":"image","Source":"a","Target":"/b"}]"#),
        ("Mounts", r#"[{"Type":"bind","Source":"/a","Target":"/b","BindOptions":{"Propagation":"rshared"}}]"#),
        ("Mounts", r#"[{"Type":"tmpfs","Target":"/b","TmpfsOptions":{"Options":[["exec"]]}}]"#),
        ("Secrets", r#"[{"SecretID":"x"}]"#),
        ("Configs", r#"[{"ConfigID":"x"}]"#),
        ("Hosts", r#"["one 1.1.1.1"]"#),
        ("DNSConfig", r#"{"Nameservers":["one"]}"#),
        ("CapabilityAdd", r#"["CAP_NET_ADMIN","CAP_FLY"]"#),
        ("CapabilityDrop", r#"["fly"]"#),
        ("Sysctls", r#"{"a":"b"}"#),
        ("Ulimits", r#"[{"Name":"files"}]"#),
        ("Ulimits", r#"[{"Name":"nofile","Soft":2,"Hard":1}]"#),
        ("OomScoreAdj", "-2000"),
        ("Privileges", r#"{"CredentialSpec":{"File":"a"}}"#),
        ("Privileges", r#"{"SELinuxContext":{"Type":"a"}}"#),
        ("Privileges", r#"{"Seccomp":{"Mode":"odd"}}"#),
        ("Privileges", r#"{"Seccomp":{"Profile":"e30="}}"#),
        ("Privileges", r#"{"Seccomp":{"Mode":"custom","Profile":"e30="}}"#),
        ("Privileges", r#"{"Seccomp":{"Mode":"custom","Profile":"?"}}"#),
        ("Privileges", r#"{"AppArmor":{"Mode":"odd"}}"#),
        ("Isolation", r#""hyperv""#),
    ] {
        let body = service_body("web", 1).replace(r#""Init":false,"DNSConfig":{}"#, &format!(r#""{field}":{value}"#));
        answers.push_str(&text(&fixture, "POST /services/create", body).await);
    }
    expect![[r#"
        501 {"message":"ContainerSpec.Mounts: type \"npipe\" is not supported by this version of wsw; use bind, volume or tmpfs"}
        501 {"message":"ContainerSpec.Mounts: type \"cluster\" is not supported by this version of wsw; use bind, volume or tmpfs"}
        501 {"message":"ContainerSpec.Mounts: type \"image\" is not supported by this version of wsw; use bind, volume or tmpfs"}
        501 {"message":"ContainerSpec.Mounts.BindOptions.Propagation: \"rshared\" is not supported by this version of wsw; use rprivate"}
        501 {"message":"ContainerSpec.Mounts.TmpfsOptions.Options: not supported by this version of wsw; leave it out"}
        501 {"message":"ContainerSpec.Secrets: not supported by this version of wsw; leave it out"}
        501 {"message":"ContainerSpec.Configs: not supported by this version of wsw; leave it out"}
        400 {"message":"ContainerSpec.Hosts: \"one 1.1.1.1\": an entry is an IP address, then names"}
        400 {"message":"ContainerSpec.DNSConfig.Nameservers: one is not an ip address"}
        400 {"message":"ContainerSpec.CapabilityAdd: unknown capability: \"CAP_FLY\""}
        400 {"message":"ContainerSpec.CapabilityDrop: unknown capability: \"CAP_FLY\""}
        400 {"message":"ContainerSpec.Sysctls: sysctl 'a=b' is not allowed"}
        400 {"message":"ContainerSpec.Ulimits: invalid ulimit type: files"}
        400 {"message":"ContainerSpec.Ulimits: nofile: ulimit soft limit must be less than or equal to hard limit: 2 > 1"}
        400 {"message":"ContainerSpec.OomScoreAdj: invalid value -2000, range for oom score adj is [-1000, 1000]"}
        400 {"message":"ContainerSpec.Privileges.CredentialSpec: credential specs are for Windows containers; leave it out"}
        400 {"message":"ContainerSpec.Privileges.SELinuxContext: containers have no SELinux labels here; leave it out"}
        400 {"message":"ContainerSpec.Privileges.Seccomp.Mode: unknown mode \"odd\"; use default, unconfined or custom"}
        400 {"message":"ContainerSpec.Privileges.Seccomp: a profile needs the mode \"custom\""}
        400 {"message":"ContainerSpec.Privileges.Seccomp.Profile: decoding seccomp profile failed: it has no defaultAction"}
        400 {"message":"ContainerSpec.Privileges.Seccomp.Profile: decoding seccomp profile failed: Invalid symbol 63, offset 0."}
        400 {"message":"ContainerSpec.Privileges.AppArmor.Mode: unknown mode \"odd\"; use default or disabled"}
        400 {"message":"ContainerSpec.Isolation: invalid isolation 'hyperv' on linux"}
    "#]]
    .assert_eq(&answers);
}

#[tokio::test]
async fn what_of_a_task_is_not_served_is_refused_by_its_name() {
    let fixture = Fixture::swarm();
    let mut answers = String::new();
    for (field, value) in [("LogDriver", r#"{"Name":"syslog"}"#), ("PluginSpec", r#"{"Name":"p"}"#), ("Runtime", r#""plugin""#)] {
        let body = service_body("web", 1).replace(r#""ForceUpdate":0"#, &format!(r#""{field}":{value}"#));
        answers.push_str(&text(&fixture, "POST /services/create", body).await);
    }
    for (field, list) in [
        ("Reservations", r#"[{"NamedResourceSpec":{"Kind":"gpu","Value":"a"}}]"#),
        ("Reservations", r#"[{"DiscreteResourceSpec":{"Kind":"gpu","Value":-1}}]"#),
        ("Reservations", r#"[{}]"#),
        ("Limits", r#"[{"DiscreteResourceSpec":{"Kind":"gpu","Value":1}}]"#),
    ] {
        let given = format!(r#""Reservations":{{}},"{field}":{{"GenericResources":{list}}}"#);
        let body = service_body("web", 1).replace(r#""Reservations":{}"#, &given);
        answers.push_str(&text(&fixture, "POST /services/create", body).await);
    }
    expect![[r#"
        501 {"message":"TaskTemplate.LogDriver.Name: log driver \"syslog\" is not supported; use json-file, local or none"}
        501 {"message":"TaskTemplate.PluginSpec: not supported by this version of wsw; leave it out"}
        501 {"message":"TaskTemplate.Runtime: not supported by this version of wsw; leave it out"}
        400 {"message":"Resources.Reservations.GenericResources: invalid argument for resource gpu: services reserve a number of it, not one by name"}
        400 {"message":"Resources.Reservations.GenericResources: invalid argument for resource gpu: must not be negative"}
        400 {"message":"Resources.Reservations.GenericResources: each needs a DiscreteResourceSpec"}
        400 {"message":"Resources.Limits.GenericResources: generic resources are reserved, not limited; use Resources.Reservations"}
    "#]]
    .assert_eq(&answers);
}

#[tokio::test]
async fn empty_values_that_clients_send_are_accepted() {
    let fixture = Fixture::swarm();
    let empty = r#""Privileges":{"CredentialSpec":null,"SELinuxContext":null,"NoNewPrivileges":false},"Mounts":null,"Secrets":[],"Configs":[],"Hosts":[],"Healthcheck":{"Test":["NONE"]},"Isolation":"default","Sysctls":{},"Ulimits":null"#;
    let body = service_body("web", 1).replace(r#""DNSConfig":{}"#, empty);
    assert!(text(&fixture, "POST /services/create", body).await.starts_with("201 "));
}

#[tokio::test]
async fn other_content_types_are_refused() {
    let fixture = Fixture::swarm();
    let request = http::Request::builder().method("POST").uri("/services/create").header("content-type", "text/yaml").body(Body::from("a: b")).unwrap();
    let response = tower::ServiceExt::oneshot(wsw_dockerapi::router(fixture), request).await.unwrap();
    assert_eq!(response.status(), 400);
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_bound() {
    let fixture = Fixture::swarm();
    let response = send(&fixture, "POST /services/create", vec![b' '; 1024 * 1024 + 1]).await;
    assert_eq!(response.status(), 413);
    // without a length it is found out while reading
    let piece = bytes::Bytes::from(vec![b' '; 64 * 1024]);
    let read = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = read.clone();
    let endless = futures_util::stream::repeat_with(move || {
        counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok::<_, std::io::Error>(piece.clone())
    });
    let answer = text(&fixture, "POST /services/create", Body::from_stream(endless)).await;
    assert_eq!(answer, "413 {\"message\":\"request body is larger than the limit of 1048576 bytes\"}\n");
    assert!(read.load(std::sync::atomic::Ordering::Relaxed) < 20);
}
