internal import CLinux

/// The program's own code in memory.
public enum ProgramMemory {
    /// Lets go of what only the start needed, some 10 MB of 20: relocations, tables of types, the reading of arguments. Pages stay in the
    /// page cache, shared by all, and what is run again comes back by itself.
    ///
    /// Failure costs memory and nothing else, so it is not reported.
    public static func releaseCode() { _ = overlay_release_code() }
}
