import Glibc

/// Tests that need a right or a tool are skipped where it is missing, with the reason printed; SWIFT_OVERLAY_REQUIRE_KERNEL=1 runs them
/// all the same, and they fail.
public enum Privilege {
    /// True if nothing may be skipped.
    public static var isRequired: Bool { getenv("SWIFT_OVERLAY_REQUIRE_KERNEL").map { String(cString: $0) == "1" } ?? false }

    /// True if tests run.
    ///
    /// - Parameters:
    ///   - tests: Name of the tests in the line that is printed.
    ///   - missing: Gives what is missing; nil if nothing is.
    public static func allows(_ tests: String, missing: () -> String?) -> Bool {
        if isRequired { return true }
        guard let reason = missing() else { return true }
        print("\(tests) skipped: \(reason)")
        return false
    }
}
