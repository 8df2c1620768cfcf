/// Id of this installation (machine-id(5)), as the file contains it; nil if it cannot be read.
public func machineID(path: String = "/etc/machine-id") -> String? { try? readFile(path) }
