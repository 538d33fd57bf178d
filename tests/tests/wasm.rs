//! WebAssembly against the host, in an interpreter.

use std::fs;
use std::path::Path;

use simground_runtime::Model;
use simground_tests::board::Board;
use simground_tests::{firmware, golden, stress};
use wasmi::{Engine, Instance, Linker, Memory, Module, Store, TypedFunc};

/// Windows in one call.
const BATCH: usize = 64;

/// The module, and where it takes and leaves its values.
struct Wasm {
    store: Store<()>,
    memory: Memory,
    answer: TypedFunc<(i32, i32), i32>,
    artifact: usize,
    windows: usize,
    records: usize,
}

impl Wasm {
    fn new(module: &Path) -> Wasm {
        let engine = Engine::default();
        let bytes = fs::read(module).expect("the module");
        let module = Module::new(&engine, &bytes[..]).expect("a valid module");
        assert_eq!(module.imports().len(), 0, "the runtime imports nothing");
        let mut store = Store::new(&engine, ());
        let instance =
            Linker::new(&engine).instantiate_and_start(&mut store, &module).expect("starts");
        let memory = instance.get_memory(&store, "memory").expect("a memory");
        let answer = instance.get_typed_func(&store, "answer").expect("a function");
        let [artifact, windows, records] =
            ["artifact", "windows", "records"].map(|name| address(&instance, &mut store, name));
        Wasm { store, memory, answer, artifact, windows, records }
    }

    /// Every word that the module answers for the windows.
    fn records(&mut self, artifact_bytes: usize, windows: &[Vec<f32>]) -> Vec<u32> {
        let values = windows.iter().flatten().flat_map(|x| x.to_bits().to_le_bytes());
        let values: Vec<u8> = values.collect();
        self.memory.write(&mut self.store, self.windows, &values).expect("room for the windows");
        let sizes = (artifact_bytes as i32, windows.len() as i32);
        let words = self.answer.call(&mut self.store, sizes).expect("no trap");
        let mut bytes = vec![0; 4 * usize::try_from(words).expect("everything fits")];
        self.memory.read(&self.store, self.records, &mut bytes).expect("records");
        bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }
}

fn address(instance: &Instance, store: &mut Store<()>, name: &str) -> usize {
    let function = instance.get_typed_func::<(), i32>(&*store, name).expect("a function");
    function.call(store, ()).expect("no trap") as u32 as usize
}

#[test]
fn wasm_equals_the_host() {
    let mut wasm = Wasm::new(&firmware::wasm().unwrap_or_else(|error| panic!("{error:#}")));
    let mut artifacts = golden::artifacts().expect("golden artifacts");
    let board = Board::named("cortex-m4").expect("a known board");
    artifacts.extend(golden::workloads(board).expect("workloads"));
    for path in artifacts {
        let bytes = fs::read(&path).expect("an artifact");
        let model = Model::from_bytes(&bytes).expect("sound");
        wasm.memory.write(&mut wasm.store, wasm.artifact, &bytes).expect("room");
        for windows in stress::windows(model.d_values()).chunks(BATCH) {
            let found = wasm.records(bytes.len(), windows);
            let expected = stress::host_records(&model, windows).concat();
            assert!(found == expected, "{}", path.display());
        }
    }
}

#[test]
fn wasm_refuses_a_changed_artifact() {
    let mut wasm = Wasm::new(&firmware::wasm().unwrap_or_else(|error| panic!("{error:#}")));
    let mut bytes = fs::read(golden::folder().join("small.sgnn")).expect("small.sgnn");
    bytes[2_000] ^= 1;
    wasm.memory.write(&mut wasm.store, wasm.artifact, &bytes).expect("room");
    let answer = wasm.answer.call(&mut wasm.store, (bytes.len() as i32, 1));
    assert_eq!(answer.expect("no trap"), -1);
}
