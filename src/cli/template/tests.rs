//! Templates as docker's users write them, against what Go's engine prints.

use super::*;

fn value(json: &str) -> Val {
    serde_json::from_str(json).unwrap()
}

#[track_caller]
fn check(template: &str, json: &str, expected: &str) {
    let rendered = Template::parse("", template).and_then(|template| template.render(&value(json)));
    assert_eq!(rendered.unwrap_or_else(|error| error), expected);
}

#[test]
fn fields_pipes_and_functions() {
    check("{{.Name}}: {{upper .Name}} {{.Name | title}}", r#"{"Name":"web one"}"#, "web one: WEB ONE Web One");
    check("{{json .}}", r#"{"b":1,"a":["<x>",null,true]}"#, r#"{"a":["<x>",null,true],"b":1}"#);
    check("{{join .L \", \"}} {{index .L 1}} {{len .L}}", r#"{"L":["a","b"]}"#, "a, b b 2");
    check("{{index .M \"k.v\"}} {{truncate .S 3}}|{{pad .S 1 2}}|", r#"{"M":{"k.v":"x"},"S":"abcdef"}"#, "x abc| abcdef  |");
    check("{{printf \"%-5s|%3d|%q\" .S 7 .S}}", r#"{"S":"ab"}"#, "ab   |  7|\"ab\"");
    check("{{println .S}}", r#"{"S":"ab"}"#, "ab\n");
}

#[test]
fn control_flow() {
    check("{{if and .A (not .B)}}yes{{else}}no{{end}}", r#"{"A":1,"B":0}"#, "yes");
    check("{{if .B}}b{{else if .A}}a{{end}}", r#"{"A":1,"B":0}"#, "a");
    check("{{range $k, $v := .M}}{{$k}}={{$v}} {{end}}", r#"{"M":{"z":1,"a":2}}"#, "a=2 z=1 ");
    check("{{range .L}}{{.N}}{{else}}none{{end}}", r#"{"L":[]}"#, "none");
    check("{{range $i, $e := .L}}{{if $i}},{{end}}{{$e}}{{end}}", r#"{"L":["a","b"]}"#, "a,b");
    check("{{with .X}}{{.Y}}{{end}}{{- \"!\" -}}  ", r#"{"X":{"Y":5}}"#, "5!");
    check("{{$x := .A}}{{range .L}}{{$x}}{{$.A}}{{end}}", r#"{"A":"q","L":[1,2]}"#, "qqqq");
}

#[test]
fn printing_follows_go() {
    check("{{.}}", r#"{"b":[1,"x"],"a":null}"#, "map[a:<nil> b:[1 x]]");
    check("{{.Nope}}", "{}", "<no value>");
}

#[test]
fn errors_follow_go() {
    check("{{", "{}", "template: :1: unclosed action");
    check("{{foo}}", "{}", "template: :1: function \"foo\" not defined");
    check("{{if .A}}", "{}", "template: :1: unexpected EOF");
    let row = Val::row("*service.serviceContext", [("ID", Val::from("x"))]);
    let rendered = Template::parse("", "{{.Foo}}").unwrap().render(&row);
    assert_eq!(rendered.unwrap_err(), "template: :1:2: executing \"\" at <.Foo>: can't evaluate field Foo in type *service.serviceContext");
}

#[test]
fn raw_json_is_indented_untouched() {
    assert_eq!(
        indent_raw(r#"[{"a":1.50,"b":[],"c":{},"d":"x,{\"y"}]"#),
        "[\n    {\n        \"a\": 1.50,\n        \"b\": [],\n        \"c\": {},\n        \"d\": \"x,{\\\"y\"\n    }\n]"
    );
}
