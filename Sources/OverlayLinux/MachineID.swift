/// The id that tells this installation from all others (machine-id(5)), as the file has it; nil where there is none.
public func machineID(path: String = "/etc/machine-id") -> String? { try? readFile(path) }
