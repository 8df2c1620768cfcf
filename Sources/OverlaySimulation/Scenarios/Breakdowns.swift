/// Daemons and engines that end in the middle of what they do.
extension Scenario {
    static let interruptions: [Scenario] = [
        Scenario(
            "crashes", "a daemon dies at each boundary of each operation, and adopts what disk and kernel hold",
            visiting: CrashScenario.visit(seed:_:), CrashScenario.run(seed:)),
        Scenario(
            "cut-off", "engines lose, repeat and cut off each call of each command, and daemons end with them",
            visiting: CutOffScenario.visit(seed:_:), CutOffScenario.run(seed:)),
    ]
}
