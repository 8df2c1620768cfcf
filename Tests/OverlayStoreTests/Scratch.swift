import FoundationEssentials
import Glibc
import OverlayLinux
import OverlayModel
import OverlayStore
import OverlayTestSupport
import Testing

/// True if tests that mount a small file system run: where they can, or must.
let tmpfsIsUsable = Privilege.allows("tests of full and read-only disks") {
    guard let scratch = try? Scratch() else { return "no temporary directory" }
    if scratch.mountTmpfs(at: scratch.path, kibibytes: 64) { return nil }
    return "a tmpfs needs CAP_SYS_ADMIN (\(SystemError.text(of: errno)))"
}

/// A directory of its own that goes with the value, and what is mounted in it.
final class Scratch {
    let path: String
    private var mounts: [String] = []

    init() throws {
        var template = Array((FileManager.default.temporaryDirectory.path + "/overlay-store-XXXXXX").utf8CString)
        path = try #require(mkdtemp(&template).map { String(cString: $0) })
    }

    deinit {
        for mount in mounts { umount2(mount, Int32(MNT_DETACH)) }
        try? FileManager.default.removeItem(atPath: path)
    }

    var state: String { path + "/state" }

    /// Path of a file system of so few bytes.
    func mountSmall(_ kibibytes: Int) throws -> String {
        let target = path + "/disk"
        #expect(mkdir(target, 0o700) == 0)
        try #require(mountTmpfs(at: target, kibibytes: kibibytes), "a tmpfs needs CAP_SYS_ADMIN (\(SystemError.text(of: errno)))")
        return target
    }

    /// - Returns: False with `errno` set where that is not allowed.
    fileprivate func mountTmpfs(at target: String, kibibytes: Int) -> Bool {
        guard mount("tmpfs", target, "tmpfs", 0, "size=\(kibibytes)k,mode=0700") == 0 else { return false }
        mounts.append(target)
        return true
    }

    func makeReadOnly(_ target: String) -> Bool { mount("tmpfs", target, "tmpfs", UInt(MS_REMOUNT | MS_RDONLY), nil) == 0 }

    static func read(_ file: String) throws -> [UInt8] { try Array(Data(contentsOf: URL(fileURLWithPath: file))) }
    static func write(_ bytes: [UInt8], to file: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: file)) }

    static func mode(_ file: String) throws -> UInt32 {
        var status = stat()
        try #require(stat(file, &status) == 0, "\(file): \(SystemError.text(of: errno))")
        return status.st_mode & 0o777
    }
}

/// Opens a store that another value of this process has just released. The lock is free when the other value's thread has ended.
func reopen(_ directory: String) async throws -> StateStore {
    for _ in 0..<100_000 {
        do {
            return try StateStore(directory: directory)
        } catch is StateInUse {
            await Task.yield()
        }
    }
    return try StateStore(directory: directory)
}
