public import Glibc

/// Type and permissions of a file, and not of what a link leads to; nil if there is no such file.
///
/// It is here because test targets that import Foundation cannot always see the members of `stat`: which module defines it for them
/// depends on the order in which modules are loaded.
public func fileMode(_ path: String) -> mode_t? {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode : nil
}
