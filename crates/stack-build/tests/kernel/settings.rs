use serde_json::json;
use stack_model::Build;

use crate::bed::Bed;

pub(crate) fn every_setting_of_an_image(bed: &Bed) {
    let text = r#"# escape=\
FROM base AS one
ARG NAME=world
ENV A=1 B="two words" C=$NAME
ENV OLD style value
ENV A=2 D=$A
LABEL a.b="x y" c=$NAME \
      d=e
EXPOSE 80 53/udp 8000-8002
VOLUME /data ["/more"]
VOLUME ["/json", "/list"]
USER app:www
WORKDIR /srv
WORKDIR sub/../deep
STOPSIGNAL SIGQUIT
SHELL ["/bin/sh", "-e", "-c"]
HEALTHCHECK --interval=1m30s --timeout=5s --start-period=2s --start-interval=1s --retries=4 CMD test -e /x
MAINTAINER someone
CMD echo $HOME
ENTRYPOINT ["/bin/echo", "hi"]
"#;
    let image = bed.text(text, &[]);
    assert_eq!(*image.setting("Env"), json!(["PATH=/bin", "A=2", "B=two words", "C=world", "OLD=style value", "D=1"]));
    assert_eq!(*image.setting("Labels"), json!({ "a.b": "x y", "c": "world", "d": "e" }));
    let ports: Vec<&String> = image
        .setting("ExposedPorts")
        .as_object()
        .unwrap_or(&serde_json::Map::new())
        .keys()
        .cloned()
        .collect::<Vec<_>>()
        .leak()
        .iter()
        .collect();
    assert_eq!(ports, ["80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"]);
    for volume in ["/data", "/json", "/list"] {
        assert!(image.setting("Volumes").get(volume).is_some(), "{volume}");
    }
    assert_eq!(*image.setting("User"), json!("app:www"));
    assert_eq!(*image.setting("WorkingDir"), json!("/srv/deep"));
    assert_eq!(*image.setting("StopSignal"), json!("SIGQUIT"));
    assert_eq!(*image.setting("Cmd"), json!(["/bin/sh", "-e", "-c", "echo $HOME"]));
    assert_eq!(*image.setting("Entrypoint"), json!(["/bin/echo", "hi"]));
    let check = image.setting("Healthcheck");
    assert_eq!(check["Test"], json!(["CMD-SHELL", "test -e /x"]));
    assert_eq!((&check["Interval"], &check["Retries"]), (&json!(90_000_000_000_u64), &json!(4)));
    assert_eq!(image.config["author"], json!("someone"));
    assert_eq!(image.file("srv/deep").mode, 0o755);
    assert_eq!(image.config["architecture"], json!(stack_image::platform().1));
    // An entry point takes the command of the base image away, but not one of the same stage.
    assert_eq!(*bed.text("FROM base\nENTRYPOINT [\"a\"]\n", &[]).setting("Cmd"), json!(null));
    assert_eq!(*bed.text("FROM base\nHEALTHCHECK NONE\n", &[]).setting("Healthcheck"), json!({ "Test": ["NONE"] }));
    let labels = [("from".to_owned(), "request".to_owned())].into();
    let request = Build { labels, ..bed.request("FROM base\n", &[]) };
    assert_eq!(*bed.build(&request).setting("Labels"), json!({ "from": "request" }));
}

pub(crate) fn arguments_and_their_scopes(bed: &Bed) {
    let text = r#"ARG BASE=nothing
ARG GLOBAL=outer
FROM ${BASE} AS first
ARG GLOBAL
ARG OWN=default
ARG DERIVED=${OWN}-${GLOBAL:+set}
ARG TARGETARCH
RUN echo "$GLOBAL $OWN $DERIVED $TARGETARCH ${UNSET-none}" > /first
FROM base AS second
ARG OWN
RUN echo "[$GLOBAL][$OWN]" > /second
FROM first
RUN echo "[$OWN]" > /third
ENV OWN=env
RUN echo "[$OWN]" > /fourth
COPY --from=second /second /second
"#;
    let args = [("BASE", "base"), ("OWN", "given")];
    let args = args.map(|(name, value)| (name.to_owned(), Some(value.to_owned()))).into();
    let image = bed.build(&Build { args, ..bed.request(text, &[]) });
    let architecture = stack_image::platform().1;
    assert_eq!(image.read("first"), format!("outer given given-set {architecture} none\n"));
    assert_eq!(image.read("second"), "[][given]\n");
    assert_eq!((image.read("third"), image.read("fourth")), ("[given]\n".to_owned(), "[env]\n".to_owned()));
    // Without a value the argument takes that of the environment of the command.
    let args = [("X".to_owned(), None)].into();
    let request = Build { args, ..bed.request("FROM base\nARG X=no\nENV Y=$X\n", &[]) };
    assert_eq!(*bed.build(&request).setting("Env"), json!(["PATH=/bin", "Y=environment"]));
}

pub(crate) fn triggers_run_in_the_child(bed: &Bed) {
    let text = "FROM base\nONBUILD COPY a /a\nONBUILD RUN cat <<EOF > /b\nx\nEOF\n";
    let request = bed.request(text, &[]);
    let parent = Build { tags: vec!["parent".to_owned()], ..request };
    bed.builder.build(&parent, &|_| {}).expect("the parent");
    let child = bed.text("FROM parent\nENV DONE=1\n", &[("a", "from the child")]);
    assert_eq!((child.read("a"), child.read("b")), ("from the child".to_owned(), "x\n".to_owned()));
    assert_eq!(*child.setting("OnBuild"), json!(null));
}
