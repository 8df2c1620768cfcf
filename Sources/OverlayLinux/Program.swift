internal import CLinux

/// This program, as the kernel sees it.
public enum Program {
    /// Releases the pages of code that only the start needed (relocation, type tables, argument parsing), about 10 of 20 MB.
    ///
    /// The pages stay in the shared page cache, and code that runs again comes back by itself. Failure costs only memory, so it is
    /// not reported.
    public static func releaseCode() { _ = overlay_release_code() }

    /// Raises the limit of open files to the hard limit (getrlimit(2), RLIMIT_NOFILE), as a shell's usual 1024 is used up by a few
    /// hundred containers.
    ///
    /// - Returns: The limit.
    @discardableResult
    public static func raiseOpenFiles() throws(SystemError) -> Int {
        var limit: UInt64 = 0
        _ = try check(overlay_raise_open_files(&limit), "setrlimit")
        return Int(clamping: limit)
    }
}
