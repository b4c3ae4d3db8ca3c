fn main() {
    napi_build::setup();
    // The last worker thread that lets go of the addon would unmap code that other threads still run.
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("linux") {
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    }
}
