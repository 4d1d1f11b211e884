fn main() {
    println!("cargo::rustc-check-cfg=cfg(no_kernels)");
    println!("cargo::rustc-cfg=no_kernels");
}
