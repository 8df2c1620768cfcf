internal import CLinux

/// This program, as the kernel sees it.
public enum Program {
    /// Lets go of what only the start needed, some 10 MB of 20: relocations, tables of types, the reading of arguments. Pages stay in the
    /// page cache, shared by all, and what is run again comes back by itself.
    ///
    /// Failure costs memory and nothing else, so it is not reported.
    public static func releaseCode() { _ = overlay_release_code() }

    /// May open as many files as the system lets it (getrlimit(2), RLIMIT_NOFILE): a shell's usual 1024 is used up by some hundred
    /// containers.
    ///
    /// - Returns: How many that is.
    @discardableResult
    public static func raiseOpenFiles() throws(SystemError) -> Int {
        var limit: UInt64 = 0
        _ = try check(overlay_raise_open_files(&limit), "setrlimit")
        return Int(clamping: limit)
    }
}
