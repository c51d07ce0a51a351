//! Distributed runs: over the ranks of MPI, and over Python's workers.

use crate::library::{STRICT, folder, root, run};
use std::process::Command;

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|o| o.status.success())
}

#[test]
fn mpi() {
    if !works(Command::new("mpicc").arg("--version")) || !works(Command::new("mpirun").arg("--version")) {
        return eprintln!("SKIPPED: no mpicc and mpirun (Debian: libopenmpi-dev, openmpi-bin)");
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
    let found = ["python3", "/usr/bin/python3"].into_iter().find(|p| works(Command::new(p).args(["-c", "import numpy, distributed"])));
    let Some(python) = found else { return eprintln!("SKIPPED: no python3 with NumPy and Dask (pip install distributed numpy)") };
    let program = root().join("bindings/python/dask_ranks.py");
    let output = run(Command::new(python).arg("-B").arg(program).env("SOFTMIX_LIBRARY", folder().join("libsoftmix.so")));
    assert!(output.ends_with("dask: ok\n"), "{output}");
}
