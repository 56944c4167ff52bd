//! A node's /metrics, read as Prometheus would.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One page: names with their labels, and values.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Vec<(String, f64)>);

impl Metrics {
    /// Asks a node.
    pub fn of(http: SocketAddr) -> io::Result<Metrics> {
        let patience = Duration::from_secs(10);
        let mut stream = TcpStream::connect_timeout(&http, patience)?;
        stream.set_read_timeout(Some(patience))?;
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
        let mut page = String::new();
        stream.read_to_string(&mut page)?;
        if !page.starts_with("HTTP/1.1 200") {
            return Err(io::Error::other(page.lines().next().unwrap_or_default()));
        }
        Ok(Metrics::parse(&page))
    }

    fn parse(page: &str) -> Metrics {
        let samples = page.lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_string(), value.parse().ok()?))
        };
        Metrics(samples.filter_map(sample).collect())
    }

    /// The value of the metric with this name, whatever its labels; 0 if there is none.
    pub fn value(&self, name: &str) -> f64 {
        let of = |sample: &str| sample.split('{').next() == Some(name);
        self.0.iter().find(|(sample, _)| of(sample)).map_or(0.0, |(_, value)| *value)
    }

    /// A histogram: how often it took no longer than each bound, in seconds.
    pub fn histogram(&self, name: &str) -> Vec<(f64, f64)> {
        let bucket = format!("{name}_bucket{{");
        let of_name = self.0.iter().filter(|(sample, _)| sample.starts_with(&bucket));
        let bound = |sample: &str| sample.split_once("le=\"")?.1.split('"').next()?.parse().ok();
        of_name.filter_map(|(sample, count)| Some((bound(sample)?, *count))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read() {
        let page = Metrics::parse(
            "HTTP/1.1 200 OK\r\n\r\n# TYPE a counter\na{node=\"n1\"} 7\n\
             h_bucket{node=\"n1\",le=\"0.005\"} 3\nh_bucket{node=\"n1\",le=\"+Inf\"} 4\n",
        );
        assert_eq!(page.value("a"), 7.0);
        assert_eq!(page.value("b"), 0.0);
        assert_eq!(page.histogram("h"), [(0.005, 3.0), (f64::INFINITY, 4.0)]);
    }
}
