/// Parts of a JSON value that are kept.
indirect enum JSONSelection: Hashable, Sendable {
    case everything
    case nothing
    /// Fields of an object by name, and what is kept of its other fields. A value that is no object is kept whole, so that its reader can
    /// say what is wrong with it.
    case fields([String: JSONSelection], others: JSONSelection)

    /// Selection for a field.
    func field(_ name: String) -> JSONSelection {
        switch self {
        case .everything, .nothing: self
        case .fields(let fields, let others): fields[name] ?? others
        }
    }
}
