//! A registry of a few lines that can be told to misbehave.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::image::{Blob, Image};

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: String,
    /// Whom the client takes this server for.
    pub(crate) host: String,
    pub(crate) path: String,
    pub(crate) range: Option<u64>,
    pub(crate) authorization: Option<String>,
    pub(crate) body: String,
    /// How often the path was asked for before.
    pub(crate) earlier: usize,
}

/// What is answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Vec<u8>,
    /// Breaks the connection after so many bytes of the body.
    pub(crate) cut: Option<usize>,
}

impl Answer {
    pub(crate) fn status(status: u16, body: &str) -> Self {
        Self { status, body: body.as_bytes().to_vec(), ..Self::default() }
    }

    /// Sends the client to this server's `/token`.
    pub(crate) fn wants_token(request: &Request) -> Self {
        let challenge = format!(r#"Bearer realm="http://{}/token",service="test""#, request.host);
        Self { headers: vec![("WWW-Authenticate", challenge)], ..Self::status(401, "{}") }
    }
}

type Rule = dyn Fn(&Request, Answer) -> Answer + Send + Sync;

pub(crate) struct Registry {
    pub(crate) address: String,
    asked: Arc<Mutex<Vec<Request>>>,
}

impl Registry {
    /// Serves images by their names, until the test's process ends.
    pub(crate) fn start(images: &[(&str, &Image)]) -> Self {
        Self::with(images, |_, answer| answer)
    }

    /// The rule may replace each answer.
    pub(crate) fn with(
        images: &[(&str, &Image)],
        rule: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let mut content: HashMap<String, Blob> = HashMap::new();
        for (name, image) in images {
            let (repository, tag) = name.split_once(':').unwrap();
            for blob in image.blobs() {
                content.insert(format!("/v2/{repository}/blobs/{}", blob.digest), blob.clone());
            }
            for reference in [tag, &image.manifest.digest] {
                content.insert(format!("/v2/{repository}/manifests/{reference}"), image.manifest.clone());
            }
        }
        Self::serve(content, rule)
    }

    /// Serves by path.
    pub(crate) fn serve(
        content: HashMap<String, Blob>,
        rule: impl Fn(&Request, Answer) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let shared: (Arc<Mutex<Vec<Request>>>, Arc<Rule>, _) = (Arc::clone(&asked), Arc::new(rule), Arc::new(content));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, rule, content) = shared.clone();
                std::thread::spawn(move || drop(converse(stream, &asked, rule.as_ref(), &content)));
            }
        });
        Self { address, asked }
    }

    pub(crate) fn name(&self, name: &str) -> stack_model::ImageReference {
        stack_model::ImageReference::new(format!("{}/{name}", self.address))
    }

    /// What was asked for with this in its path.
    pub(crate) fn asked(&self, part: &str) -> Vec<Request> {
        self.asked.lock().unwrap().iter().filter(|request| request.path.contains(part)).cloned().collect()
    }

    /// How often something with this in its path was asked for.
    pub(crate) fn count(&self, part: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|request| request.path.contains(part)).count()
    }
}

fn converse(
    stream: TcpStream,
    asked: &Mutex<Vec<Request>>,
    rule: &Rule,
    content: &HashMap<String, Blob>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut stream = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split(' ').map(str::to_owned);
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let (mut host, mut range, mut authorization, mut length) = (String::new(), None, None, 0);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let Some((name, value)) = header.trim().split_once(": ") else { break };
            match name.to_ascii_lowercase().as_str() {
                "range" => range = value.trim_start_matches("bytes=").trim_end_matches('-').parse().ok(),
                "host" => host = value.to_owned(),
                "authorization" => authorization = Some(value.to_owned()),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let request = {
            let mut asked = asked.lock().unwrap();
            let earlier = asked.iter().filter(|other| other.path == path).count();
            let request = Request { method, host, path, range, authorization, body, earlier };
            asked.push(request.clone());
            request
        };
        let mut answer = rule(&request, usual(&request, content));
        if request.method == "HEAD" {
            answer.body.clear();
        }
        if !send(&mut stream, &answer)? {
            return Ok(());
        }
    }
}

fn usual(request: &Request, content: &HashMap<String, Blob>) -> Answer {
    if request.path == "/v2/" {
        return Answer::status(200, "{}");
    }
    let Some(blob) = content.get(&request.path) else {
        return Answer::status(404, r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#);
    };
    let mut headers = vec![("Content-Type", blob.media_type.to_owned())];
    let from = request.range.unwrap_or(0);
    if request.range.is_some() {
        headers.push(("Content-Range", format!("bytes {from}-{}/{}", blob.bytes.len() - 1, blob.bytes.len())));
    }
    let status = if request.range.is_some() { 206 } else { 200 };
    Answer { status, headers, body: blob.bytes[usize::try_from(from).unwrap()..].to_vec(), cut: None }
}

/// Tells whether the connection goes on.
fn send(stream: &mut TcpStream, answer: &Answer) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Status\r\nContent-Length: {}\r\n", answer.status, answer.body.len());
    for (name, value) in &answer.headers {
        head.push_str(name);
        head.push_str(": ");
        head.push_str(value);
        head.push_str("\r\n");
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    stream.write_all(&answer.body[..answer.cut.unwrap_or(answer.body.len()).min(answer.body.len())])?;
    Ok(answer.cut.is_none())
}
