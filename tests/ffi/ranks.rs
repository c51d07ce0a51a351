//! Distributed runs: over the ranks of MPI, and over Python's workers.

use crate::library::{STRICT, folder, python_with, root, run, skip, works};
use std::process::Command;

#[test]
fn mpi() {
    // Debian: libopenmpi-dev, openmpi-bin.
    for tool in ["mpicc", "mpirun"] {
        if !works(Command::new(tool).arg("--version")) {
            return skip(tool);
        }
    }
    let library = folder();
    let program = library.join("ffi-tests/ranks");
    std::fs::create_dir_all(library.join("ffi-tests")).unwrap();
    let mut compile = Command::new("mpicc");
    compile.current_dir(root()).args(STRICT).args(["-std=c99", "-g", "-O1", "-Iinclude", "ffi-tests/mpi/ranks.c", "-o"]).arg(&program);
    compile.arg("-L").arg(library).arg("-lsoftmix").arg(format!("-Wl,-rpath,{}", library.display())).arg("-lm");
    run(&mut compile);
    for ranks in ["1", "2", "3", "4"] {
        let mut command = Command::new("mpirun");
        command.args(["--oversubscribe", "-n", ranks]).arg(&program);
        // Open MPI asks root for its word; and ranks that share a core must not spin for one another.
        command.env("OMPI_ALLOW_RUN_AS_ROOT", "1").env("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1").env("OMPI_MCA_mpi_yield_when_idle", "1");
        let output = run(&mut command);
        assert!(output.ends_with("ranks: ok\n"), "{output}");
    }
}

#[test]
fn dask() {
    // pip install distributed numpy
    let Some(python) = python_with("numpy, distributed") else { return skip("distributed") };
    let program = root().join("bindings/python/dask_ranks.py");
    let output = run(Command::new(python).arg("-B").arg(program).env("SOFTMIX_LIBRARY", folder().join("libsoftmix.so")));
    assert!(output.ends_with("dask: ok\n"), "{output}");
}
