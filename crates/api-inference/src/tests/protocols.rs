//! All ways to say the same rows, and the Open Inference Protocol.

use super::*;

/// Version 4 of `signed` answers 10 * a + b.
async fn signed() -> House {
    house(&[("signed", 4)]).await
}

#[tokio::test]
async fn rows_without_names_and_tables_as_text_mean_the_same() {
    let house = signed().await;
    for body in [
        json!({"instances": [[1, 2, "x"], [3.5, 4, null]]}),
        json!({"inputs": [[1, 2, "x"], [3.5, 4, null]]}),
        json!({"inputs": {"b": [2, 4], "a": [1, 3.5]}}),
        json!({"instances": {"b": [2, 4], "a": [1, 3.5]}}),
        json!({"dataframe_split": {"data": [[1, 2, "x"], ["3.5", 4.0, "y"]]}}),
        json!({"dataframe_split": {"columns": ["b", "a", "other"], "index": [0, 1], "data": [[2, 1, 9], [4, 3.5, 9]]}}),
        json!({"inputs": {"a": [[1], [3.5]], "b": [[2], [4]]}}),
    ] {
        let (status, answer) = house.post("/invocations", body.clone()).await;
        assert_eq!((status, &answer["predictions"]), (200, &json!([12.0, 39.0])), "{body}: {answer}");
    }
    let (status, answer) = read(house.send("/invocations", Some("text/csv; charset=utf-8"), "b,a,c\n2,1,\"x, y\"\n4,3.5,\n").await).await;
    assert_eq!((status, &answer["predictions"]), (200, &json!([12.0, 39.0])), "{answer}");
    let (_, answer) = house.post("/invocations", json!({"inputs": {"a": 1, "b": 2}})).await;
    assert_eq!(answer["predictions"], json!([12.0]), "one row");
}

#[tokio::test]
async fn columns_keep_the_order_in_which_they_were_sent() {
    let house = house(&[("table", 5)]).await;
    let row: Vec<f64> = (0..12).map(f64::from).collect();
    let names: Vec<String> = (0..12).map(|n| format!("{}{n}", char::from(b'z' - n as u8))).collect();
    for body in [json!({"inputs": [row]}), json!({"dataframe_split": {"columns": names, "data": [row]}})] {
        let (status, answer) = house.post("/invocations", body.clone()).await;
        let expected: f64 = row.iter().enumerate().map(|(place, value)| place as f64 * value).sum();
        assert_eq!((status, &answer["predictions"]), (200, &json!([expected])), "{body}: {answer}");
    }
}

#[tokio::test]
async fn the_door_names_the_column_and_what_to_do() {
    let house = signed().await;
    for (body, code, says) in [
        (json!({"instances": [{"a": 1}]}), "serve/missing_column", "`b`"),
        (json!({"instances": [{"a": 1, "b": 2.5}]}), "serve/type", "row 0, column `b`"),
        (json!({"instances": [{"a": "much", "b": 2}]}), "serve/type", "`much`"),
        (json!({"instances": [{"a": 1, "b": null}]}), "serve/type", "nothing"),
        (json!({"instances": [[1, 2]]}), "serve/columns", "a, b, c"),
    ] {
        let (status, answer) = house.post("/invocations", body.clone()).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{body}: {answer}");
        assert!(answer["message"].as_str().unwrap().contains(says) && answer["hint"].is_string(), "{body}: {answer}");
    }
    for (table, code) in [("a,b\n1\n", "request/csv"), ("a,a\n1,2\n", "request/columns"), ("", "serve/rows"), ("a,b\n", "serve/rows")] {
        let (status, answer) = read(house.send("/invocations", Some("text/csv"), table).await).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{table}: {answer}");
    }
}

async fn get(house: &House, path: &str) -> (u16, Json) {
    read(house.router.clone().oneshot(Request::get(path).body(Body::empty()).unwrap()).await.unwrap()).await
}

fn column(name: &str, datatype: &str, data: Json) -> Json {
    json!({"name": name, "datatype": datatype, "shape": [data.as_array().unwrap().len()], "data": data})
}

#[tokio::test]
async fn the_open_inference_protocol_says_what_is_served() {
    let house = signed().await;
    assert_eq!(get(&house, "/v2").await.1["name"], "trimtab");
    assert_eq!(get(&house, "/v2/health/live").await, (200, json!({"live": true})));
    assert_eq!(get(&house, "/v2/health/ready").await, (200, json!({"ready": true})));
    assert_eq!(get(&super::house(&[]).await, "/v2/health/ready").await, (503, json!({"ready": false})));
    for path in ["/v2/models/signed/ready", "/v2/models/signed/versions/4/ready"] {
        assert_eq!(get(&house, path).await, (200, json!({"name": "signed", "ready": true})), "{path}");
    }
    let (_, told) = get(&house, "/v2/models/signed").await;
    assert_eq!((&told["versions"], &told["inputs"][1]), (&json!(["4"]), &json!({"name": "b", "datatype": "INT64", "shape": [-1, 1]})));
    for path in ["/v2/models/nobody", "/v2/models/nobody/ready", "/v2/models/signed/versions/3", "/v2/models/signed/versions/x/ready"] {
        let (status, answer) = get(&house, path).await;
        assert!(status == 404 && answer["error"].is_string(), "{path}: {answer}");
    }
}

#[tokio::test]
async fn the_open_inference_protocol_infers() {
    let house = signed().await;
    let inputs = json!([column("b", "INT64", json!([2, 4])), column("a", "FP64", json!([1, 3.5]))]);
    for path in ["/v2/models/signed/infer", "/v2/models/signed/versions/4/infer"] {
        let (status, answer) = house.post(path, json!({"id": "mine", "inputs": inputs})).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!((&answer["id"], &answer["model_name"], &answer["model_version"]), (&json!("mine"), &json!("signed"), &json!("4")));
        let output = json!([{"name": "predict", "shape": [2, 1], "datatype": "FP64", "data": [12.0, 39.0]}]);
        assert_eq!((&answer["outputs"], &answer["parameters"]["logged"]), (&output, &json!(true)));
    }
    let table = json!({"name": "all", "shape": [2, 3], "datatype": "FP64", "data": [[1, 2, 0], [3.5, 4, 0]]});
    let (status, answer) = house.post("/v2/models/signed/infer", json!({"inputs": [table]})).await;
    assert_eq!((status, &answer["outputs"][0]["data"]), (200, &json!([12.0, 39.0])), "{answer}");
    assert_eq!(house.rows.open_part("prediction/signed").rows, 6);
}

#[tokio::test]
async fn tensors_come_and_go_in_binary() {
    let house = signed().await;
    let header = json!({
        "inputs": [
            {"name": "a", "shape": [2, 1], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
            {"name": "b", "shape": [2], "datatype": "INT16", "parameters": {"binary_data_size": 4}},
            {"name": "c", "shape": [2], "datatype": "BYTES", "parameters": {"binary_data_size": 11}},
        ],
        "outputs": [{"name": "predict", "parameters": {"binary_data": true}}],
    })
    .to_string();
    let mut body = header.clone().into_bytes();
    [1.0_f32, 3.5].iter().for_each(|value| body.extend(value.to_le_bytes()));
    [2_i16, 4].iter().for_each(|value| body.extend(value.to_le_bytes()));
    ["x", "yz"].iter().for_each(|text| body.extend([&(text.len() as u32).to_le_bytes()[..], text.as_bytes()].concat()));
    let send = |body: Vec<u8>, length: String| {
        let request = Request::post("/v2/models/signed/infer").header("inference-header-content-length", length);
        house.router.clone().oneshot(request.body(Body::from(body)).unwrap())
    };
    let response = send(body.clone(), header.len().to_string()).await.unwrap();
    let length: usize = response.headers()["inference-header-content-length"].to_str().unwrap().parse().unwrap();
    let answer = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    let told: Json = serde_json::from_slice(&answer[..length]).unwrap();
    assert_eq!(told["outputs"][0]["parameters"], json!({"binary_data_size": 16}), "{told}");
    let values: Vec<f64> = answer[length..].chunks_exact(8).map(|raw| f64::from_le_bytes(raw.try_into().unwrap())).collect();
    assert_eq!(values, [12.0, 39.0]);
    for (body, length) in [
        (body.clone(), "99999".to_owned()),
        (body[..body.len() - 1].to_vec(), header.len().to_string()),
        ([body, vec![0]].concat(), header.len().to_string()),
    ] {
        let (status, answer) = read(send(body, length).await.unwrap()).await;
        assert!(status == 400 && answer["error"].is_string(), "{answer}");
    }
}

#[tokio::test]
async fn a_wrong_tensor_is_refused_with_its_place() {
    let house = signed().await;
    let good = || column("b", "INT64", json!([2]));
    for (inputs, code) in [
        (json!([]), "serve/rows"),
        (json!([{"name": "a", "shape": [2], "datatype": "FP64", "data": [1]}, good()]), "request/shape"),
        (json!([{"name": "a", "shape": [18_446_744_073_709_551_615_u64, 9], "datatype": "FP64", "data": [1]}]), "request/shape"),
        (json!([{"name": "a", "shape": [1], "datatype": "FP64"}, good()]), "request/data"),
        (json!([column("a", "INT8", json!([300])), good()]), "request/value"),
        (json!([column("a", "FP8", json!([3])), good()]), "request/datatype"),
        (json!([column("a", "FP64", json!([3])), column("a", "FP64", json!([3]))]), "request/columns"),
        (json!([column("a", "FP64", json!([3]))]), "serve/missing_column"),
        (json!([{"name": "a", "shape": [1, 2], "datatype": "FP64", "data": [1, 2]}]), "serve/columns"),
    ] {
        let (status, answer) = house.post("/v2/models/signed/infer", json!({"inputs": inputs})).await;
        assert_eq!((status, answer["code"].as_str()), (400, Some(code)), "{inputs}: {answer}");
    }
    let (status, answer) = house.post("/v2/models/signed/infer", json!({"inputs": [good()], "outputs": [{"name": "other"}]})).await;
    assert_eq!((status, answer["code"].as_str()), (400, Some("request/output")));
    let (status, answer) = house.post("/v2/models/nobody/infer", json!({"inputs": [good()]})).await;
    assert!(status == 404 && answer["error"].is_string());
}
