//! `security_opt`: labels, filters and profiles.

use std::path::PathBuf;

use stack_model::{Seccomp, Security};

use super::ServiceKey;
use crate::context::Cx;
use crate::decode::not_yet;
use crate::nearest::nearest;
use crate::report::{Code, Problem};
use crate::service::Service;
use crate::shape::common::TEXTS;
use crate::text::Spanned;
use crate::yaml::Node;

pub(super) const KEY: ServiceKey = ServiceKey::new(
    "security_opt",
    "Security options: `label=…`, `seccomp=…`, `apparmor=…`, `no-new-privileges:true`.",
    &TEXTS,
)
.parse(parse)
.lower(|from, to| to.container.security = from.service.security.clone());

const OPTIONS: [&str; 5] = ["apparmor", "label", "no-new-privileges", "seccomp", "systempaths"];

fn parse(node: &Node, service: &mut Service, cx: &mut Cx<'_>) {
    for option in cx.texts(node, "`security_opt`").unwrap_or_default() {
        let text = option.value.as_str();
        // Docker takes a colon too, where no equals sign comes before it.
        let (name, value) = text.split_once('=').or_else(|| text.split_once(':')).unwrap_or((text, ""));
        let Security { seccomp, no_new_privileges, unmask } = &mut service.security;
        match (name, value) {
            ("no-new-privileges", "" | "true" | "1") => *no_new_privileges = true,
            ("no-new-privileges", "false" | "0") => *no_new_privileges = false,
            ("seccomp", "unconfined") => (*seccomp, service.seccomp_file) = (Seccomp::Unconfined, None),
            ("seccomp", "builtin" | "default") => (*seccomp, service.seccomp_file) = (Seccomp::Standard, None),
            ("seccomp", path) if !path.is_empty() => {
                let directory = cx.directory.clone();
                service.seccomp_file = Some(Spanned::new(cx.absolute(&directory, path), option.span));
            }
            ("systempaths", "unconfined") => *unmask = true,
            // Containers have no profile of AppArmor and no label of SELinux here.
            ("apparmor", "unconfined") | ("label", "disable") => {}
            ("apparmor" | "label", _) => {
                let problem = not_yet(option.span, &format!("`{text}` of `security_opt`"));
                cx.push(problem.help(format!(
                    "remove it, or write `{name}={}`",
                    if name == "label" { "disable" } else { "unconfined" }
                )));
            }
            (name, _) => {
                let problem =
                    Problem::error(Code::InvalidValue, option.span, format!("`{text}` is no security option"));
                let problem = problem.reason("the options are `no-new-privileges:true`, `seccomp=…`, `apparmor=unconfined`, `label=disable` and `systempaths=unconfined`");
                let near = nearest(name, OPTIONS).filter(|near| *near != name);
                cx.push(problem.nearest(option.span, near));
            }
        }
    }
}

/// Reads the profile that a service names. Docker compose sends the content too, so an edit is a change.
pub(crate) fn resolve(service: &mut Service, cx: &mut Cx<'_>) {
    let Some(Spanned { value: path, span }) = service.seccomp_file.clone() else { return };
    let path: PathBuf = path;
    let Some((_, text)) = cx.read_text(&path, span) else { return };
    let profile = serde_json::from_str::<serde_json::Value>(&text);
    match profile {
        Ok(profile) if profile.get("defaultAction").is_some() => {
            service.security.seccomp = Seccomp::Profile(profile.to_string());
        }
        Ok(_) => {
            let message = format!("{} is not a seccomp profile", path.display());
            let problem = Problem::error(Code::InvalidValue, span, message).reason("it has no `defaultAction`");
            cx.push(problem.help("docker's default.json shows what a profile is"));
        }
        Err(error) => {
            let message = format!("{} is not JSON: {error}", path.display());
            cx.push(Problem::error(Code::InvalidValue, span, message).help("correct the profile"));
        }
    }
}

#[cfg(test)]
mod tests {
    use stack_model::Seccomp;

    use crate::testing::{Files, errors, service};

    #[test]
    fn options_are_lowered_in_both_spellings() {
        let security = service("security_opt: ['no-new-privileges:true', 'seccomp:unconfined']").container.security;
        assert!(security.no_new_privileges && security.seccomp == Seccomp::Unconfined && !security.unmask);
        let security = service("security_opt: [no-new-privileges, systempaths=unconfined]").container.security;
        assert!(security.no_new_privileges && security.unmask && security.seccomp == Seccomp::Standard);
        let nothing = service("security_opt: [apparmor=unconfined, 'label:disable']").container.security;
        assert_eq!(nothing, stack_model::Security::default());
    }

    #[test]
    fn a_profile_is_read_from_its_file() {
        let text = "services:\n  a: {image: i, security_opt: ['seccomp=./p.json']}\n";
        let files = Files::new(text).with("p.json", r#"{ "defaultAction": "SCMP_ACT_ALLOW" }"#);
        let seccomp = files.service("a").container.security.seccomp;
        assert_eq!(seccomp, Seccomp::Profile(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#.to_owned()));
        assert_eq!(Files::new(text).errors(), ["2:32 /p/p.json does not exist; create it, or correct the path"]);
        assert!(Files::new(text).with("p.json", "{").errors()[0].starts_with("2:32 /p/p.json is not JSON"));
    }

    #[test]
    fn others_are_refused() {
        assert_eq!(
            errors("security_opt: [secomp=unconfined]"),
            ["4:20 `secomp=unconfined` is no security option; did you mean `seccomp`?"]
        );
        assert_eq!(
            errors("security_opt: [apparmor=mine]"),
            ["4:20 `apparmor=mine` of `security_opt` is not supported yet; remove it, or write `apparmor=unconfined`"]
        );
    }
}
