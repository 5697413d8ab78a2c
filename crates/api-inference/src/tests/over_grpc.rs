//! The Open Inference Protocol over gRPC, as bytes through the router.

use super::*;
use crate::grpc::messages::{Contents, InferRequest, InferResponse, Live, ModelMetadata, Named, Ready, Tensor, WantedOutput};
use prost::Message;

/// Code, message or answer of one call; the message is sent as it is.
async fn call(house: &House, method: &str, message: Vec<u8>) -> Result<Vec<u8>, (String, String, String)> {
    let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
    let request = Request::post(format!("/inference.GRPCInferenceService/{method}")).header("content-type", "application/grpc");
    let response = house.router.clone().oneshot(request.header("te", "trailers").body(Body::from(frame)).unwrap()).await.unwrap();
    assert_eq!(response.status(), 200, "what is wrong is in the status of gRPC");
    let header = |name: &str| response.headers().get(name).map_or(String::new(), |value| value.to_str().unwrap().to_owned());
    if response.headers().contains_key("grpc-status") {
        return Err((header("grpc-status"), header("trimtab-code"), header("grpc-message")));
    }
    let body = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    Ok(body[5..].to_vec())
}

fn tensor(name: &str, datatype: &str, shape: &[i64], contents: Option<Contents>) -> Tensor {
    Tensor { name: name.into(), datatype: datatype.into(), shape: shape.into(), contents, ..Tensor::default() }
}

fn doubles(values: &[f64]) -> Option<Contents> {
    Some(Contents { doubles: values.into(), ..Contents::default() })
}

/// `10 * a + b` of two rows.
fn good() -> InferRequest {
    let b = Some(Contents { longs: vec![2, 4], ..Contents::default() });
    let c = Some(Contents { texts: vec!["x".into(), "ß".into()], ..Contents::default() });
    let inputs = vec![tensor("a", "FP64", &[2], doubles(&[1.0, 3.5])), tensor("b", "INT64", &[2, 1], b), tensor("c", "BYTES", &[2], c)];
    InferRequest { model_name: "signed".into(), id: "mine".into(), inputs, ..InferRequest::default() }
}

#[tokio::test]
async fn values_come_in_the_list_of_their_type_or_as_bytes() {
    let house = house(&[("signed", 4)]).await;
    let answer = InferResponse::decode(&*call(&house, "ModelInfer", good().encode_to_vec()).await.unwrap()).unwrap();
    assert_eq!((answer.model_name.as_str(), answer.model_version.as_str(), answer.id.as_str()), ("signed", "4", "mine"));
    assert_eq!((answer.outputs[0].name.as_str(), &answer.outputs[0].shape[..]), ("predict", &[2, 1][..]));
    assert_eq!(answer.outputs[0].contents.as_ref().unwrap().doubles, [12.0, 39.0]);
    assert!(answer.raw.is_empty() && answer.parameters.contains_key("prediction_ids"));
    // The same as bytes, of smaller types.
    let raw: Vec<bytes::Bytes> = vec![
        [1.0_f32, 3.5].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
        [2_i16, 4].iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>().into(),
    ];
    let inputs = vec![tensor("a", "FP32", &[2], None), tensor("b", "INT16", &[2], None)];
    let request = InferRequest { inputs, raw, ..good() };
    let answer = InferResponse::decode(&*call(&house, "ModelInfer", request.encode_to_vec()).await.unwrap()).unwrap();
    let values: Vec<f64> = answer.raw[0].chunks_exact(8).map(|raw| f64::from_le_bytes(raw.try_into().unwrap())).collect();
    assert!(values == [12.0, 39.0] && answer.outputs[0].contents.is_none());
}

#[tokio::test]
async fn what_is_there_and_what_is_ready() {
    let house = house(&[("signed", 4)]).await;
    let live = Live::decode(&*call(&house, "ServerLive", Vec::new()).await.unwrap()).unwrap();
    let ready = Ready::decode(&*call(&house, "ServerReady", Vec::new()).await.unwrap()).unwrap();
    assert!(live.live && ready.ready);
    let empty = super::house(&[]).await;
    assert!(!Ready::decode(&*call(&empty, "ServerReady", Vec::new()).await.unwrap()).unwrap().ready);
    for (name, version, expected) in [("signed", "", true), ("signed", "4", true), ("signed", "5", false), ("nobody", "", false)] {
        let named = Named { name: name.into(), version: version.into() };
        let answer = Ready::decode(&*call(&house, "ModelReady", named.encode_to_vec()).await.unwrap()).unwrap();
        assert_eq!(answer.ready, expected, "{name} {version}");
    }
    let named = Named { name: "signed".into(), version: String::new() };
    let model = ModelMetadata::decode(&*call(&house, "ModelMetadata", named.encode_to_vec()).await.unwrap()).unwrap();
    let inputs: Vec<(&str, &str)> = model.inputs.iter().map(|input| (input.name.as_str(), input.datatype.as_str())).collect();
    assert_eq!(inputs, [("a", "FP64"), ("b", "INT64"), ("c", "BYTES")]);
}

/// The codes of gRPC: 3 invalid argument, 4 deadline, 5 not found, 12 unimplemented, 14 unavailable.
#[tokio::test]
async fn a_mistake_is_the_callers_and_is_told() {
    let house = house(&[("signed", 4), ("down", 2), ("slow", 3)]).await;
    let mut cases: Vec<(&str, Vec<u8>, &str, &str)> = vec![
        ("ModelInfer", vec![0xff; 40], "3", ""),
        ("ModelInfer", Vec::new(), "3", ""),
        ("Other", Vec::new(), "12", ""),
        ("ModelMetadata", Named { name: "nobody".into(), version: String::new() }.encode_to_vec(), "5", "serve/no_champion"),
        ("ModelMetadata", Named { name: "signed".into(), version: "nine".into() }.encode_to_vec(), "5", "serve/version"),
    ];
    let x = |model: &str| InferRequest { model_name: model.into(), inputs: vec![tensor("x", "FP64", &[1], doubles(&[1.0]))], ..good() };
    let raw = |raw: &[&'static [u8]]| raw.iter().map(|bytes| bytes::Bytes::from_static(bytes)).collect();
    // A list of another length is refused before anything is made of it, so its first text is not looked at.
    let texts = Some(Contents { texts: vec![bytes::Bytes::from_static(&[0xff]); 3], ..Contents::default() });
    let bools = Some(Contents { bools: vec![true; 1 << 20], ..Contents::default() });
    let wanted = vec![WantedOutput { name: "other".into(), ..WantedOutput::default() }];
    let requests = [
        (x("down"), "14", "serve/worker_down"),
        (x("slow"), "4", "serve/deadline"),
        (x("nobody"), "5", "serve/no_champion"),
        (x("no such: name"), "3", ""),
        (InferRequest { model_version: "9".into(), ..good() }, "5", "serve/version"),
        (InferRequest { outputs: wanted, ..good() }, "3", "request/output"),
        (InferRequest { inputs: vec![], ..good() }, "3", "serve/rows"),
        (InferRequest { inputs: vec![tensor("a", "FP64", &[-1], doubles(&[1.0]))], ..good() }, "3", "request/shape"),
        (InferRequest { inputs: vec![tensor("a", "FP64", &[i64::MAX, 9], doubles(&[1.0]))], ..good() }, "3", "request/shape"),
        (InferRequest { inputs: vec![tensor("a", "FP64", &[3], doubles(&[1.0]))], ..good() }, "3", "request/shape"),
        (InferRequest { inputs: vec![tensor("c", "BYTES", &[2], texts.clone())], ..good() }, "3", "request/shape"),
        (InferRequest { inputs: vec![tensor("c", "BYTES", &[3], texts)], ..good() }, "3", "request/value"),
        (InferRequest { inputs: vec![tensor("a", "BOOL", &[1], bools)], ..good() }, "3", "request/shape"),
        (InferRequest { inputs: vec![tensor("a", "FP16", &[1], doubles(&[1.0]))], ..good() }, "3", "request/datatype"),
        (InferRequest { inputs: vec![tensor("a", "BOOL", &[1], None)], raw: raw(&[b"ab"]), ..good() }, "3", "request/shape"),
        (InferRequest { raw: raw(&[b"a"]), ..good() }, "3", "request/binary"),
        (InferRequest { raw: raw(&[b"a", b"b", b"c"]), ..good() }, "3", "request/data"),
        (InferRequest { inputs: vec![tensor("a", "FP64", &[1], None)], raw: raw(&[b"short"]), ..good() }, "3", "request/binary"),
    ];
    cases.extend(requests.into_iter().map(|(request, status, code)| ("ModelInfer", request.encode_to_vec(), status, code)));
    for (number, (method, message, status, code)) in cases.into_iter().enumerate() {
        let (found, named, told) = call(&house, method, message).await.unwrap_err();
        assert_eq!((found.as_str(), code.is_empty() || named == code), (status, true), "{number} {method}: {named} {told}");
        assert!(!told.is_empty(), "{number} {method}");
    }
}
