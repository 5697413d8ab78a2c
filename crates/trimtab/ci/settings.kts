// Judges a model version before it is let out. The agent needs `trimtab` on its PATH; TRIMTAB_SERVER says where the server is.
import jetbrains.buildServer.configs.kotlin.*
import jetbrains.buildServer.configs.kotlin.buildFeatures.XmlReport
import jetbrains.buildServer.configs.kotlin.buildFeatures.xmlReport
import jetbrains.buildServer.configs.kotlin.buildSteps.script

version = "2024.03"

project {
    buildType(ModelGate)
}

object ModelGate : BuildType({
    name = "Model gate"
    artifactRules = "gate.xml"

    params {
        text("env.MODEL", "@MODEL@", description = "model, or MODEL@VERSION; the newest version if it names none")
        param("env.TRIMTAB_SERVER", "@SERVER@")
    }

    vcs {
        root(DslContext.settingsRoot)
    }

    steps {
        script {
            name = "Gate"
            scriptContent = "trimtab gate run \"\$MODEL\" -o junit --out gate.xml"
        }
    }

    failureConditions {
        executionTimeoutMin = 60
    }

    features {
        xmlReport {
            reportType = XmlReport.XmlReportType.JUNIT
            rules = "gate.xml"
        }
    }
})
